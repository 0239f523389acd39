"""Partial results of a search in a folder, so that it can go on after an interruption.

`state.json` says what the results belong to; `NAME.jsonl` holds a JSON object a line, appended as it becomes known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesparse.errors import SearchError

IDENTITY = "state.json"


class State:
    """A folder of results that belong to one model and one set of options."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Open `folder`: go on with what it holds, or begin anew.

        Raises: SearchError: it cannot be written, or it is to be resumed and belongs to something else.
        """
        self.folder = folder
        wanted = json.loads(json.dumps(dict(identity)))
        try:
            folder.mkdir(exist_ok=True)
            found = self._identity() if resume else None
            if found is not None:
                _require_same(folder, found, wanted)
                return
            for path in (folder / IDENTITY, *folder.glob("*.jsonl")):
                path.unlink(missing_ok=True)
            replace(folder / IDENTITY, json.dumps(wanted, indent=2).encode())
        except OSError as err:
            raise SearchError(f"{folder}: cannot keep partial results there: {err.strerror or err}") from err

    def _identity(self) -> dict[str, Any] | None:
        path = self.folder / IDENTITY
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise SearchError(f"{path}: is damaged; remedy: leave out --resume to start anew")
        return found

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What was appended under `name`; a line that an interruption cut off is left out."""
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            return []
        whole, _, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            replace(path, whole + b"\n" if whole else b"")
        return [json.loads(line) for line in whole.splitlines() if line]

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row, and see it to the disk."""
        with (self.folder / f"{name}.jsonl").open("ab") as file:
            file.write(json.dumps(dict(row)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _require_same(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in {**found, **wanted}:
        if found.get(key) != wanted.get(key):
            old, new = (_short(side.get(key)) for side in (found, wanted))
            raise SearchError(
                f"--resume: {folder} belongs to another search: {key} was {old} and is {new} now; "
                "remedy: the same model and options, or leave out --resume to start anew"
            )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
