"""Tables of the docs are what the lists in the code say."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgesparse
from tools.docs import DOCS, PICTURES, TABLES, filled


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_are_as_the_code_says(page):
    text = page.read_text()

    assert filled(text) == text, "run python -m tools.docs"


def test_every_table_stands_somewhere():
    pages = "".join(page.read_text() for page in DOCS.glob("*.md"))

    assert all(f"<!-- {name}:" in pages for name in TABLES)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_the_code_says(name):
    assert (DOCS / name).read_text() == PICTURES[name](), "run python -m tools.docs"
    assert any(f"({name})" in page.read_text() for page in DOCS.glob("*.md"))


def test_the_picture_of_rooms_has_all_of_them():
    rooms = {path.stem for path in Path(edgesparse.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__", "__main__", "__pycache__"}

    picture = PICTURES["rooms.svg"]()

    assert {name for name in rooms if f">{name}</text>" in picture} == rooms
