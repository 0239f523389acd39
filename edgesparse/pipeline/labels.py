"""The names of a classifier's classes, from a text file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from edgesparse.errors import PackageError
from edgesparse.inputs import content

EXPECTED = "a text file with one label per line"
Labels: TypeAlias = str | Path | Sequence[str] | None
"""The labels in the order of the classes, or the text file that holds one a line."""


def read_labels(labels: Labels) -> tuple[str, ...]:
    """The labels; empty lines at the end of a file are no labels.

    Raises: PackageError: the file cannot be read, is no text, or has an empty line before another.
    """
    if labels is None:
        return ()
    if not isinstance(labels, str | Path):
        if not isinstance(labels, Iterable):
            raise PackageError(f"labels: got {labels!r}, expected {EXPECTED}, or a list of labels")
        wrong = next((label for label in labels if not isinstance(label, str)), None)
        if wrong is not None:
            raise PackageError(f"labels: got {wrong!r}, expected texts, or the text file that holds one a line")
        return tuple(labels)
    try:
        text = content(Path(labels), EXPECTED, PackageError, remedy="write one label per line").decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise PackageError(f"{labels}: is not UTF-8 text, expected {EXPECTED}") from err
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        raise PackageError(f"{labels}:{lines.index('') + 1}: is empty, expected a label")
    return tuple(lines)
