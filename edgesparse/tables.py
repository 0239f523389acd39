"""Reports in the order they are read, lines and tables, as text and as HTML for notebooks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

GAP = "  "
SHORTEST = 8
"""Characters of a text that is shortened."""

Styled = Callable[[str, str, bool], str]
"""A padded cell as a terminal shows it, from the cell, its padded text and whether it is a heading."""


def shown(text: object) -> str:
    """A text in one line, which moves no cursor: what a file calls something may hold anything."""
    return "".join("?" if unicodedata.category(sign) in ("Cc", "Cs") or sign in _TURNS else sign for sign in str(text))


_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of what follows."""


@dataclass(frozen=True)
class Table:
    """Rows of cells below headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]

    def text(self, width: int | None = None, styled: Styled = lambda _cell, padded, _is_heading: padded) -> str:
        """Columns as wide as they need to be, numbers to the right.

        Args:
            width: characters of a line; where lines would be longer, the longest texts lose their middle.
        """
        lines = [list(self.headings), *self._cells()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        right = self._numbers()
        if width is not None:
            _narrow(widths, right, width - len(GAP) * (len(widths) - 1))
        return "\n".join(
            GAP.join(
                styled(cell, f"{_fitted(cell, size):{'>' if number else '<'}{size}}", at == 0)
                for cell, size, number in zip(line, widths, right, strict=True)
            ).rstrip()
            for at, line in enumerate(lines)
        )

    def html(self) -> str:
        """A table without styles but for numbers, which stand to the right."""
        sides = [' style="text-align: right"' if number else ' style="text-align: left"' for number in self._numbers()]
        head, *body = [
            "".join(f"<{tag}{side}>{escape(cell)}</{tag}>" for cell, side in zip(cells, sides, strict=True))
            for tag, cells in (("th", self.headings), *(("td", cells) for cells in self._cells()))
        ]
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self) -> list[list[str]]:
        return [[shown(cell) for cell in row] for row in self.rows]

    def _numbers(self) -> list[bool]:
        """Which columns hold nothing but numbers."""
        rows = self._cells()
        return [bool(rows) and all(_is_number(row[at]) for row in rows) for at in range(len(self.headings))]


@dataclass(frozen=True)
class Note:
    """A line that was not asked for; a `warning` says what may go wrong."""

    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.warning else 'note'}: {self.text}"


Part = str | Table | Note


class Report:
    """Something that can be shown: `print` gives its lines and tables, a notebook the same as HTML."""

    def parts(self) -> Iterator[Part]:
        """Lines, notes and tables, as they are read."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return "\n".join(part.text() if isinstance(part, Table) else shown(part) for part in self.parts())

    def _repr_html_(self) -> str:
        parts = (part.html() if isinstance(part, Table) else f"<p>{escape(shown(part))}</p>" for part in self.parts())
        return "\n".join(parts)


def _narrow(widths: list[int], numbers: Sequence[bool], room: int) -> None:
    """Take from the widest columns of text until all have room, or none is longer than the shortest."""
    while sum(widths) > room:
        wide = [at for at, width in enumerate(widths) if width > SHORTEST and not numbers[at]]
        if not wide:
            return
        widths[max(wide, key=widths.__getitem__)] -= 1


def _fitted(cell: str, width: int) -> str:
    """The text without its middle where it is longer."""
    if len(cell) <= width:
        return cell
    tail = (width - 1) // 2
    return f"{cell[: width - 1 - tail]}…{cell[len(cell) - tail :]}"


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ("", "-", "?") or (cell[:1] == "-" and cell[1:2].isdigit())


def shape_text(shape: Sequence[object] | None) -> str:
    """1x3x224x224, or `scalar`."""
    return "?" if shape is None else "x".join(map(str, shape)) or "scalar"


def bytes_text(count: float | None) -> str:
    """Bytes in the unit that reads best."""
    if count is None:
        return "-"
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def time_text(us: float) -> str:
    """Microseconds in the unit that reads best."""
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.1f} us"


def counts_text(counts: dict[str, int]) -> str:
    """2 Conv, 1 Relu."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def signature_table(inputs: Iterable[Any], outputs: Iterable[Any]) -> Table:
    """Types and shapes of what goes in and comes out."""
    rows = [
        (kind, tensor.name, f"{tensor.dtype} {getattr(tensor, 'picture', '')}".strip(), shape_text(tensor.shape))
        for kind, tensors in (("in", inputs), ("out", outputs))
        for tensor in tensors
    ]
    return Table(("", "tensor", "type", "shape"), rows)
