"""Partial results of a search in a folder, so that it can go on after an interruption.

`state.json` says what the results belong to; `NAME.jsonl` holds a key and its value per line, appended as they become
known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgesparse.errors import SearchError
from edgesparse.outputs import written

IDENTITY = "state.json"


class State:
    """A folder of results that belong to one model and one set of options."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Open `folder`: go on with what it holds, or begin anew.

        Raises: SearchError: it cannot be written, or it is to be resumed and belongs to something else.
        """
        self.folder = folder
        self._known: dict[str, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(dict(identity)))
        try:
            folder.mkdir(exist_ok=True)
            found = self._identity() if resume else None
            if found is not None:
                _require_same(folder, found, wanted)
                return
            for path in (folder / IDENTITY, *folder.glob("*.jsonl")):
                path.unlink(missing_ok=True)
            _replace(folder / IDENTITY, json.dumps(wanted, indent=2).encode())
        except OSError as err:
            raise _unusable(folder, err) from err

    def _identity(self) -> dict[str, Any] | None:
        path = self.folder / IDENTITY
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _damaged(path)
        return found

    def once(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """What is kept for a key, made first where nothing is; keys and values are JSON."""
        found = self.get(name, key)
        return self.keep(name, key, make()) if found is None else found

    def get(self, name: str, key: Any) -> Any:
        """What is kept for a key, or None."""
        return self._of(name).get(json.dumps(key))

    def all(self, name: str) -> list[Any]:
        """All that is kept under a name, in order."""
        return list(self._of(name).values())

    def keep(self, name: str, key: Any, value: Any) -> Any:
        """Keep a value, see it to the disk, and return it as it will be found again.

        Raises: SearchError: it cannot be written.
        """
        line, known = json.dumps({"key": key, "value": value}), self._of(name)
        try:
            with self._path(name).open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as err:
            raise _unusable(self.folder, err) from err
        known[json.dumps(key)] = found = json.loads(line)["value"]
        return found

    def _of(self, name: str) -> dict[str, Any]:
        """Values by key; a line that an interruption cut off is left out.

        Raises: SearchError: another line is damaged.
        """
        if name not in self._known:
            path = self._path(name)
            whole, _, rest = path.read_bytes().rpartition(b"\n") if path.is_file() else (b"", b"", b"")
            if rest:
                _replace(path, whole + b"\n" if whole else b"")
            try:
                rows = [json.loads(line) for line in whole.splitlines()]
                self._known[name] = {json.dumps(row["key"]): row["value"] for row in rows}
            except (ValueError, TypeError, KeyError) as err:
                raise _damaged(path) from err
        return self._known[name]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"


def _replace(path: Path, data: bytes) -> None:
    with written(path, SearchError) as temporary:
        temporary.write_bytes(data)


def _unusable(folder: Path, err: OSError) -> SearchError:
    return SearchError(f"{folder}: cannot keep partial results there: {err.strerror or err}")


def _damaged(path: Path) -> SearchError:
    return SearchError(f"{path}: is damaged; remedy: leave out --resume to start anew")


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
