"""Reports on a terminal, notes, and JSON."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgesparse.cli.command import is_quiet
from edgesparse.tables import Note, Part, Report, Table, shown

COLORS = {"DIFFERS": "red", "agrees": "green"}


def show(report: Report, as_json: bool) -> None:
    """A report as one object of JSON, or in lines and tables."""
    if as_json:
        print_json(report)
        return
    for part in report.parts():
        say(part)


def say(part: Part) -> None:
    """A line, a note or a table that fits the terminal, where there is one."""
    if isinstance(part, Table):
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        click.echo(part.text(width, _styled) if terminal else part.text())
    elif isinstance(part, Note) and part.warning:
        click.secho(shown(part), err=True, fg="yellow")
    elif not (isinstance(part, Note) and is_quiet()):
        click.echo(shown(part))


def _styled(cell: str, padded: str, is_heading: bool) -> str:
    if is_heading:
        return click.style(padded, bold=True)
    return click.style(padded, fg=COLORS[cell]) if cell in COLORS else padded


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
