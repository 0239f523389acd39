"""Text that every Python comes with: its library's source, and sentences about the language."""

from __future__ import annotations

import importlib
import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path

LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo", "pydoc_data")
HELD_OUT = 10  # one file of so many
WORDS = (6, 40)  # of a sentence


def source() -> tuple[bytes, bytes]:
    """The source of the standard library: files to learn from, and held-out ones."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path.relative_to(root) for path in root.rglob("*.py"))
    files = [path for path in sorted(found) if not set(path.parts) & set(LEFT_OUT)]

    def text(paths: Sequence[Path]) -> bytes:
        return b"\n".join((root / path).read_bytes() for path in paths)

    return text([path for at, path in enumerate(files) if at % HELD_OUT]), text(files[::HELD_OUT])


def sentences() -> list[str]:
    """Sentences of the language reference, as `pydoc` shows it, in the order of its topics."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    paragraphs = [part for name in sorted(topics) for part in topics[name].split("\n\n")]
    prose = [" ".join(part.split()) for part in paragraphs if re.match(r"[A-Z]", part)]
    found = [each for part in prose for each in re.split(r"(?<=[.!?]) (?=[A-Z])", part)]
    low, high = WORDS
    return list(dict.fromkeys(each for each in found if each.endswith(".") and low <= len(each.split()) <= high))
