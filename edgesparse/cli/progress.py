"""The stages of a command while it works: a line of a terminal that moves, or lines of their own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from edgesparse.cli.command import is_quiet, is_verbose
from edgesparse.pipeline.arguments import Progress, silent
from edgesparse.tables import shown

PATIENCE_S = 1.0
"""What is over sooner is not shown."""


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a function that names the present stage and the share of it that is done."""
    if is_quiet():
        yield silent
        return
    told = _Told() if is_verbose() else _Bar() if sys.stderr.isatty() else _Lines()
    try:
        yield told.begin
    finally:
        told.end()


class _Told:
    """Every stage in a line, with its time when it is over."""

    def __init__(self) -> None:
        self._stage, self._since = "", 0.0

    def begin(self, stage: str, share: float | None = None) -> None:
        if stage != self._stage:
            self.end()
            self._stage, self._since = stage, time.monotonic()

    def end(self) -> None:
        if self._stage:
            click.echo(f"{shown(self._stage)}: {time.monotonic() - self._since:.1f} s", err=True)
        self._stage = ""


class _Lines:
    """A line for every stage that is not over soon."""

    def __init__(self) -> None:
        self._stage, self._timer = "", threading.Timer(0, lambda: None)

    def begin(self, stage: str, share: float | None = None) -> None:
        if stage == self._stage:
            return
        self.end()
        self._stage = stage
        self._timer = threading.Timer(PATIENCE_S, lambda: click.echo(f"{shown(stage)} ...", err=True))
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        self._timer.cancel()


class _Bar:
    """One line of the terminal, which goes away at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None)
        self._stage, self._timer = "", threading.Timer(PATIENCE_S, self._bar.start)
        self._timer.daemon = True
        self._timer.start()

    def begin(self, stage: str, share: float | None = None) -> None:
        if stage != self._stage:
            self._stage = stage
            self._bar.reset(self._task, total=None, description=shown(stage))
        if share is not None:
            self._bar.update(self._task, total=1.0, completed=share)

    def end(self) -> None:
        self._timer.cancel()
        self._timer.join()
        self._bar.stop()
