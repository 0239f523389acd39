"""What holds for a pruning: every option, as it was given or as it is by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, Unpack, cast, get_args, get_origin

from edgesparse.errors import PruneError, nearest
from edgesparse.pipeline import values
from edgesparse.pipeline.options import MULTIPLE, OTHER_OPTIONS, PruningOptions, fields, those_that

TYPES: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Sequence: "a text or several",
    Mapping: "options by the names of layers",
}
"""What values of an option are, in Python and in words."""


@dataclass(frozen=True)
class Pruning:
    """How to prune: all options, each with what holds for it."""

    options: PruningOptions

    @classmethod
    def of(cls, options: PruningOptions, lanes: int = MULTIPLE) -> Pruning | None:
        """The pruning that keyword arguments ask for; None where nothing among them says how much.

        Args: lanes: the multiple where none is given.

        Raises: EdgesparseError: a value that fits no model, two that say how much, or one without what it needs.
        """
        _require_known(options)
        given = {name: _typed(name, value) for name, value in options.items() if value is not None}
        said = [name for name, value in given.items() if not _is_default(name, value) and not _is_empty(value)]
        for name in said:
            needs = fields()[name].option.needs
            if needs and needs not in given:
                example = fields()[needs].option.example
                raise PruneError(f"{name} means nothing without {needs}; give {needs} too, such as {example}")
        pruning = cls.recorded({"multiple": lanes} | given)
        _require_sense(pruning.options, said)
        if pruning.makes_zeros or pruning.options["structured"] is not None:
            return pruning
        if said:
            words = f"{' and '.join(said)} {'say' if len(said) > 1 else 'says'} how to prune"
            raise PruneError(f"{words}, and nothing says how much; give sparsity, such as 0.9")
        return None

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Pruning:
        """The pruning that `record` of an artifact describes; what it leaves out is as by default.

        Raises: PruneError: an option is unknown, or a value fits no model.
        """
        from edgesparse.prune import METHODS

        _require_known(record)
        given = {name: checked(name, value) for name, value in record.items() if value is not None}
        seen = "calibration" in given
        method = given.get("method", "admm" if seen else "magnitude")
        usual = {name: field.option.default for name, field in fields().items()} | {
            "method": method,
            "allocation": METHODS[method].allocation,
            "importance": "output" if seen else "l2",
            "multiple": MULTIPLE,
        }
        return cls(cast(PruningOptions, usual | given))

    def but(self, **options: Unpack[PruningOptions]) -> Pruning:
        """The same with other options."""
        return type(self)({**self.options, **options})

    @property
    def makes_zeros(self) -> bool:
        """Whether single weights are to become zero."""
        from edgesparse.prune import pattern_called

        says = any(self.options[name] is not None for name in those_that("says_how_much"))  # type: ignore[literal-required]
        return says or bool(self.options["layers"]) or pattern_called(self.options["pattern"]).density is not None

    @property
    def searches(self) -> bool:
        """Whether a search is to choose the densities."""
        return any(self.options[name] is not None for name in those_that("budget"))  # type: ignore[literal-required]

    @property
    def record(self) -> dict[str, Any]:
        """What an artifact keeps of it, so that another copy of the model can be pruned alike."""
        kept: dict[str, Any] = {}
        for name, value in self.options.items():
            option = fields()[name].option
            of_structure = "structured" in (name, option.needs)
            if option.recorded and not (of_structure and self.options["structured"] is None):
                kept[name] = list(value) if isinstance(value, tuple) else value
        path = kept["calibration"]
        return {**kept, "calibration": str(path) if isinstance(path, str | Path) else None}


def checked(name: str, value: Any) -> Any:
    """The value of an option, several as a tuple.

    Raises: PruneError: it is of another type, or fits no model.
    """
    value, option = _typed(name, value), fields()[name].option
    if value is not None and option.check is not None and not _is_default(name, value):
        option.check(value, name)
    return value


def _typed(name: str, value: Any) -> Any:
    """A value of an option's type, several as a tuple, and so is a text where several may be."""
    kind, option = fields()[name]
    if get_origin(kind) is Sequence and isinstance(value, Sequence):
        value = (value,) if isinstance(value, str) else tuple(value)
    if value is not None and option.check is not values.share and not _is_of(value, kind):
        example = f" such as {option.example}" if option.example else ""
        raise PruneError(f"{name}: got {value!r}, expected {TYPES[plain(kind)]}{example}")
    return value


def members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def plain(kind: Any) -> Any:
    """The one type that values have, without None; the type itself where it is several."""
    types = [each for each in members(kind) if each is not NoneType]
    return (get_origin(types[0]) or types[0]) if len(types) == 1 else kind


def _is_of(value: object, kind: Any) -> bool:
    expected = plain(kind)
    if expected is Sequence:
        return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    return expected not in TYPES or isinstance(value, int | float if expected is float else expected)


def _is_default(name: str, value: object) -> bool:
    default = fields()[name].option.default
    return isinstance(value, type(default)) and bool(value == default)


def _is_empty(value: object) -> bool:
    return isinstance(value, str | Sequence | Mapping) and not any(value)


def _require_sense(options: PruningOptions, said: Sequence[str]) -> None:
    """Check that options fit each other.

    Args: said: those that somebody gave.
    """
    from edgesparse.prune import check_permute

    amounts = [name for name in those_that("says_how_much") if name in said]
    if len(amounts) > 1:
        raise PruneError(f"{' and '.join(amounts)} each say how much to prune; give only one of them")
    if (options["max_accuracy_drop"] is None) != (options["eval"] is None):
        raise PruneError("max_accuracy_drop and eval go together: the drop allowed, and the function that scores")
    if options["permute"]:
        own = (layer["pattern"] for layer in options["layers"].values() if "pattern" in layer)
        check_permute([options["pattern"], *own])
    if options["recover"] is not None and options["calibration"] is None:
        raise PruneError("recover needs calibration: about five hundred samples of every input, without labels")


def _require_known(options: Mapping[str, object]) -> None:
    """Check the names of keyword arguments.

    Raises: PruneError: one is unknown; with the nearest that is known.
    """
    for name in options:
        if name in OTHER_OPTIONS:
            raise PruneError(f"{name!r} does not apply here; it is an option of other commands, such as compile")
        if name not in fields():
            raise PruneError(f"unknown option {name!r}{nearest(name, fields(), OTHER_OPTIONS)}")
