"""Errors a user can cause; each message says where, got, expected and remedy on one line."""

import difflib
from collections.abc import Iterable, Sequence


def first_few(names: Sequence[str], shown: int) -> str:
    """The first names of a list that may be long, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def nearest(name: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """How a message about an unknown name ends: with the nearest one, or with all that are known here."""
    known = list(known)
    near = difflib.get_close_matches(name, [*known, *elsewhere], n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def in_words(err: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__


class EdgesparseError(Exception):
    """Base of every error that a user can cause and mend; its message is one line, whatever names are in it."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class OptionError(EdgesparseError, TypeError):
    """An option that a function does not know, or a value of another type than it takes."""


class FrontendError(EdgesparseError):
    """The model cannot be read, or holds something that cannot be compiled."""


class PruneError(EdgesparseError):
    """A pruning request does not fit the model."""


class TargetError(EdgesparseError):
    """A target is unknown or its description is invalid."""


class LowerError(EdgesparseError):
    """An operator, shape or type has no lowering."""


class PackageError(EdgesparseError):
    """An artifact cannot be written or read."""


class MeasureError(EdgesparseError):
    """A measurement or a comparison cannot be made."""


class OnnxRuntimeError(EdgesparseError):
    """ONNX Runtime, the reference, cannot open or run a model, crashed over it, or did not answer in time."""


class WitnessError(EdgesparseError):
    """A model computes something different once imported or compiled: a fault of ours, to be reported."""


class RecipeError(EdgesparseError):
    """A recipe cannot be read, or holds something that is no option."""


class SearchError(EdgesparseError):
    """A search for densities cannot be made, or nothing meets what it is asked for."""


class InternalError(Exception):
    """An invariant of edgesparse is broken: a bug of ours, never the user's mistake."""
