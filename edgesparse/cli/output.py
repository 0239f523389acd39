"""Tables, notes and JSON."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgesparse.cli.command import is_quiet

GAP = "  "
SHORTEST = 8
"""Characters of a text that is shortened."""

COLORS = {"DIFFERS": "red", "agrees": "green"}


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None) -> str:
    """Columns as wide as they need to be, numbers to the right.

    Args:
        width: characters of a line; by default those of the terminal, and any number where the reader is none.
            Where lines would be longer, the longest texts lose their middle.
    """
    lines = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    right = [len(lines) > 1 and all(_is_number(line[i]) for line in lines[1:]) for i in range(len(headers))]
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    if width is not None:
        _narrow(widths, right, width - len(GAP) * (len(widths) - 1))
    return "\n".join(
        GAP.join(
            _styled(cell, f"{_fitted(cell, size):{'>' if number else '<'}{size}}", at == 0)
            for cell, size, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for at, line in enumerate(lines)
    )


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


def _styled(cell: str, padded: str, is_header: bool) -> str:
    if is_header:
        return click.style(padded, bold=True) if sys.stdout.isatty() else padded
    return click.style(padded, fg=COLORS[cell]) if cell in COLORS and sys.stdout.isatty() else padded


def tell(text: str) -> None:
    """Say something that was not asked for."""
    if not is_quiet():
        click.echo(f"note: {text}")


def warn(text: str) -> None:
    """Say on stderr what may go wrong."""
    click.secho(f"warning: {text}", err=True, fg="yellow")


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


def print_json(report: Any) -> None:
    """One JSON object; dataclasses with their properties become objects, infinite numbers become null."""
    click.echo(json.dumps(_plain(report), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
        shown = {name: getattr(value, name) for name, p in vars(type(value)).items() if isinstance(p, property)}
        return _plain(fields | shown)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
