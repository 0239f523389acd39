"""Tables whose columns sort and whose rows are searched; without a script they are tables all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.pages.element import Child, Markup, joined, tag
from edgesparse.pages.quantities import NONE

SEARCHED = 8
"""Rows from which on a table can be searched."""


@dataclass(frozen=True)
class Column:
    """A heading, and the class of its cells; `sorts` is False where no order makes sense."""

    heading: str
    class_: str = ""
    sorts: bool = True


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number that it is sorted by, where that is not its text."""

    content: Child
    by: float | None = None


NUMBER, LAYER = "n", "layer"
"""The classes of columns that hold numbers, and of the one that names the rows."""


def grid(
    key: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Child | Cell]], what: str = "layers"
) -> Markup:
    """A table in a box that scrolls by itself; the first column whose class is LAYER names its rows.

    Args:
        key: its id, of which there is one on a page.
        rows: columns that hold nothing in any of them are left out.
        what: its rows are called.
    """
    there = [at for at in range(len(columns)) if not rows or any(_holds(row[at]) for row in rows)]
    columns, rows = [columns[at] for at in there], [[row[at] for at in there] for row in rows]
    heads = (
        tag("th", column.heading, scope="col", class_=column.class_ or None, data_sorts=column.sorts)
        for column in columns
    )
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", heads)),
        tag("tbody", (tag("tr", _cells(row, columns)) for row in rows)),
        id=key,
        class_="grid",
    )
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return joined(_search(key, len(rows), what) if len(rows) >= SEARCHED else None, box)


def _holds(cell: Child | Cell) -> bool:
    content = cell.content if isinstance(cell, Cell) else cell
    return content is not None and content != NONE


def _cells(row: Sequence[Child | Cell], columns: Sequence[Column]) -> list[Markup]:
    return [
        tag(
            "th" if column.class_ == LAYER else "td",
            cell.content if isinstance(cell, Cell) else cell,
            scope="row" if column.class_ == LAYER else None,
            class_=column.class_ or None,
            data_by=f"{cell.by:.6g}" if isinstance(cell, Cell) and cell.by is not None else None,
        )
        for cell, column in zip(row, columns, strict=True)
    ]


def _search(key: str, count: int, what: str) -> Markup:
    """Hidden where no script can use it."""
    return tag(
        "div",
        tag("label", f"Search {what}", for_=f"{key}-search"),
        tag("input", id=f"{key}-search", type="search", autocomplete="off", spellcheck="false", data_table=key),
        tag("span", f"{count} {what}", role="status", class_="count", data_what=what),
        class_="search",
        hidden=True,
    )
