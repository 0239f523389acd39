"""Runs by name in one JSON file, each written as soon as it is done, so that a bench can stop and go on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.outputs import written

Run = dict[str, Any]
Columns = Mapping[str, Callable[[Run], str]]
"""Titles, and how each shows a run."""


def some_of(parser: argparse.ArgumentParser, runs: str, known: Sequence[str]) -> list[str]:
    """The runs that `--runs` names; ends the program where one is unknown."""
    chosen = runs.split(",")
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"--runs: {unknown[0]!r} is unknown; expected some of {', '.join(known)}")
    return chosen


def points_lost(
    dense: Run, runs: Mapping[str, Run], rows: Mapping[str, str], columns: Sequence[str], points: Callable[[Run], float]
) -> str:
    """A table of how many `points` less than the dense run each has that is called ROW-COLUMN, and of its CPU seconds.

    Args: rows: names of methods, and what they are called in the table; a method without a run has no row.
    """
    lines = ["| points lost | " + " | ".join([*columns, "CPU s"]) + " |", "|---|" + "---|" * (len(columns) + 1)]
    for row, words in rows.items():
        found = [runs.get(f"{row}-{column}") for column in columns]
        if spent := [run["cpu_seconds"] for run in found if run is not None]:
            cells = ["" if run is None else f"{points(dense) - points(run):.1f}" for run in found]
            lines.append("| " + " | ".join([words, *cells, f"{np.median(spent):.0f}"]) + " |")
    return "\n".join(lines)


class Results:
    """The runs in `path`, whatever is there already; `settings` are those of this call and kept with each run."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = dict(settings)
        self.runs: dict[str, Run] = json.loads(path.read_text()) if path.exists() else {}

    def done(self, name: str) -> bool:
        """Whether the run is there with the settings of this call."""
        return name in self.runs and self.runs[name]["settings"] == self.settings

    def add(self, name: str, run: Run) -> None:
        """Take over a run, and write the file."""
        self.runs[name] = {"settings": self.settings, **run}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written(self.path) as partial:
            partial.write_text(json.dumps(self.runs, indent=1) + "\n")

    def write_table(self, columns: Columns, words: str) -> None:
        """Write all runs as Markdown next to the JSON, with `words` below."""
        rows = [["run", *columns], *([name, *(show(run) for show in columns.values())] for name, run in self.by_name)]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        text = "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:], "", words, ""])
        self.path.with_suffix(".md").write_text(text)

    @property
    def by_name(self) -> list[tuple[str, Run]]:
        """Name and run, in the order in which they were added first."""
        return list(self.runs.items())
