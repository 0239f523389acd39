"""Arguments as callers give them: each becomes what a function takes, or one line that says what was expected."""

from __future__ import annotations

import operator
import os
from numbers import Real
from typing import Any

from edgesparse_runtime._library import EdgesparseRuntimeError

MOST_NUMBER = 2**32 - 1
MOST_AMOUNT = 1e6
SHOWN = 60  # characters of what was given


def refused(name: str, value: object, expected: str) -> EdgesparseRuntimeError:
    """The error that an argument is not what was expected."""
    try:
        given = repr(value)
    except Exception:  # of a class of the caller's
        given = f"an object of {type(value).__name__}"
    given = " ".join(given.split())
    given = given if len(given) <= SHOWN else f"{given[:SHOWN]}..."
    return EdgesparseRuntimeError(f"{name}: got {given}, expected {expected}", "ES_ERR_ARGUMENT")


def natural(name: str, value: Any, least: int = 0, most: int = MOST_NUMBER, expected: str = "") -> int:
    """An integer, also one of numpy.

    Raises: EdgesparseRuntimeError: it is none, or not from `least` to `most`; `expected` says what it should be.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise refused(name, value, expected or f"a whole number from {least} to {most}")
    return number


def amount(name: str, value: Any) -> float:
    """A number above 0, also one of numpy.

    Raises: EdgesparseRuntimeError: it is none, or larger than any that makes sense.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else 0.0
    except OverflowError:
        number = 0.0
    if not 0 < number <= MOST_AMOUNT:
        raise refused(name, value, f"a number above 0 and up to {MOST_AMOUNT:g}")
    return number


def text(name: str, value: Any, expected: str) -> bytes:
    """A text as the library takes it.

    Raises: EdgesparseRuntimeError: it is none, or cannot be handed on.
    """
    try:
        encoded = value.encode() if isinstance(value, str) else b"\0"
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise refused(name, value, expected)
    return encoded


def artifact(value: Any) -> tuple[str, bytes | None]:
    """The path of an artifact, or "" and the bytes of one.

    Raises: EdgesparseRuntimeError: it is neither.
    """
    if isinstance(value, bytes):
        return "", value
    try:
        path = os.fsdecode(value) if isinstance(value, str | os.PathLike) else "\0"
        os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        path = "\0"
    if "\0" in path:
        raise refused("artifact", value, "a path, or the bytes of an artifact")
    return path, None
