"""The keys of a target's file, which are the fields of dataclasses: read, checked and written by one list."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from edgesparse.errors import TargetError

_TYPES = {str: str, int: int, int | None: int, tuple[str, ...]: list}
"""What a file holds for a field of a type; fields of other types are no keys."""

MOST = 1 << 48
"""The largest number that a file holds for a fact, where none is named."""

_TYPE_NAMES = {str: "a line of text", int: "a positive integer", list: "a list of strings"}


@dataclass(frozen=True)
class Key:
    """A key of a file, the field that it is read into, and the type that it has in the file."""

    name: str
    field: str
    kind: type
    required: bool
    least: int
    most: int


def at(table: str, key: str = "", *, least: int = 1, most: int = MOST) -> dict[str, Any]:
    """Metadata of a field: the table of the file that it stands in, its key if that is not its name, and its range."""
    return {"table": table, "key": key, "least": least, "most": most}


def tables(facts: type, table: str = "") -> Mapping[str, Mapping[str, Key]]:
    """The keys of a class by table and name.

    Args:
        table: the one of fields that name none; the file itself is "".
    """
    found: dict[str, dict[str, Key]] = {}
    hints = get_type_hints(facts)
    for field in fields(facts):
        if kind := _TYPES.get(hints[field.name]):
            told = field.metadata
            limits = told.get("least", 1), told.get("most", MOST)
            key = Key(told.get("key") or field.name, field.name, kind, field.default is MISSING, *limits)
            found.setdefault(field.metadata.get("table", table), {})[key.name] = key
    return found


def read(
    facts: type, file: Mapping[str, Any], where: str, *, table: str = "", beside: Sequence[str] = ()
) -> dict[str, Any]:
    """The fields of a class as a file gives them, lists as tuples.

    Args:
        table: the one of fields that name none.
        beside: what the tables may hold besides.

    Raises: TargetError: a key is missing, there is no such key, or it holds something else.
    """
    found: dict[str, Any] = {}
    for name, keys in tables(facts, table).items():
        found |= _read_table(file, name, keys, beside, where)
    return found


def write(facts: object, table: str = "") -> dict[str, Any]:
    """The tables of a file that hold these facts; what is as by default is left out."""
    defaults = {field.name: field.default for field in fields(facts)}  # type: ignore[arg-type]
    file: dict[str, Any] = {}
    for name, keys in tables(type(facts), table).items():
        values = {key.name: (getattr(facts, key.field), defaults[key.field]) for key in keys.values()}
        held = {key: _plain(value) for key, (value, default) in values.items() if value != default}
        file |= {name: held} if name else held
    return file


def named(facts: object) -> dict[str, Any]:
    """The facts by the names that a file has for them."""
    keys = (key for table in tables(type(facts)).values() for key in table.values())
    return {key.name: getattr(facts, key.field) for key in keys}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_table(
    file: Mapping[str, Any], table: str, keys: Mapping[str, Key], beside: Sequence[str], where: str
) -> dict[str, Any]:
    values = file.get(table, {}) if table else file
    if not isinstance(values, Mapping):
        raise TargetError(f"{where}: {table}: got {shortened(values)}, expected a table")
    prefix, known = f"{where}: {table}." if table else f"{where}: ", (*keys, *beside)
    for name in values:
        if name not in known:
            raise TargetError(f"{prefix}{name}: no such key{suggested(name, known)}")
    found = {}
    for key in keys.values():
        if key.name in values:
            found[key.field] = _checked(values[key.name], key, f"{prefix}{key.name}")
        elif key.required:
            raise TargetError(f"{prefix}{key.name}: missing, expected {_TYPE_NAMES[key.kind]}")
    return found


def _checked(value: Any, key: Key, where: str) -> Any:
    kind, expected = key.kind, _TYPE_NAMES[key.kind]
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if fits and kind is int:
        fits, expected = key.least <= value <= key.most, f"a number from {key.least} to {key.most}"
    elif fits and kind is list:
        fits = all(isinstance(item, str) and item for item in value)
    elif fits:
        fits = bool(value) and value.isprintable()
    if not fits:
        raise TargetError(f"{where}: got {shortened(value)}, expected {expected}")
    return tuple(value) if kind is list else value


def shortened(value: object) -> str:
    """A value in a message, of any length."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 128 else "a number of many digits"
    return text if len(text) <= 100 else f"{text[:50]} ... {text[-45:]}"


def suggested(word: str, known: Sequence[str]) -> str:
    """How a message about an unknown word ends: with the nearest one, if there is one."""
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
