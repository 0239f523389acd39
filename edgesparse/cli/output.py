"""Tables, JSON and progress."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

QUIET_SECONDS = 1.0


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they need to be; numbers to the right."""
    lines = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    right = [len(lines) > 1 and all(_is_number(line[i]) for line in lines[1:]) for i in range(len(headers))]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


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


@contextmanager
def progress() -> Iterator[Any]:
    """Yield a function that names the present stage; stages longer than a second are shown on stderr."""
    timer: threading.Timer | None = None

    def begin(stage: str) -> None:
        nonlocal timer
        end()
        timer = threading.Timer(QUIET_SECONDS, lambda: print(f"{stage} ...", file=sys.stderr, flush=True))
        timer.daemon = True
        timer.start()

    def end() -> None:
        if timer is not None:
            timer.cancel()

    try:
        yield begin
    finally:
        end()
