"""Tables of the docs are what the lists in the code say."""

from __future__ import annotations

import pytest

from tools.docs import DOCS, TABLES, filled


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_are_as_the_code_says(page):
    text = page.read_text()

    assert filled(text) == text, "run python -m tools.docs"


def test_every_table_stands_somewhere():
    pages = "".join(page.read_text() for page in DOCS.glob("*.md"))

    assert all(f"<!-- {name}:" in pages for name in TABLES)
