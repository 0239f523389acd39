"""Values of another kind than a function of the pipeline takes are refused before anything is done."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from edgesparse.errors import OptionError

SHOWN = 60  # characters of what was given

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _is_number(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "int": (_is_number(Integral), "a whole number"),
    "float": (_is_number(Real), "a number"),
    "str": (lambda value: isinstance(value, str) and _is_whole(value), "a text"),
    "Path": (lambda value: isinstance(value, os.PathLike) and _is_whole(str(value)), "a path"),
    "Progress": (callable, "a function"),
    "None": (lambda value: value is None, "None"),
}
"""By how annotations write them: whether a value is one, and what it is in words."""


def _is_whole(text: str) -> bool:
    """Whether the system and a device can be handed it: it has no end within, and is made of characters."""
    try:
        return "\0" not in text and bool(os.fsencode(text) or True)
    except UnicodeEncodeError:
        return False


def require_kinds(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, which checks the values whose annotations are made of the names in `_KINDS`.

    Raises: OptionError: a value is of another kind.
    """
    names = {name: str(each.annotation).split(" | ") for name, each in inspect.signature(function).parameters.items()}
    kinds = {name: each for name, each in names.items() if each != ["None"] and _KINDS.keys() >= {*each}}

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for name, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if name in kinds and not any(_KINDS[kind][0](value) for kind in kinds[name]):
                expected = " or ".join(_KINDS[kind][1] for kind in kinds[name])
                raise OptionError(f"{function.__name__}: got {name}={_shown(value)}, expected {expected}")
        return function(*args, **{name: _plain(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return checked


def _plain(value: Any) -> Any:
    """A number of numpy's as Python has it."""
    if isinstance(value, bool | int | float) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # of a class of the caller's
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
