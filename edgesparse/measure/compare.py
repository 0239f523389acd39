"""Whether two sets of outputs agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesparse.numerics import Element, Tolerance, element


@dataclass(frozen=True)
class Difference:
    """How far one value is from the expected one.

    `max_error` is the largest absolute difference after both were divided by `scale`, the largest magnitude
    expected; `agrees` holds where every element is within the tolerance of its type on that scale. Values that are not
    floating point agree only if they are equal.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    max_error: float
    agrees: bool
    note: str = ""


def compare(actual: np.ndarray, expected: np.ndarray, name: str, computed: Element | None = None) -> Difference:
    """Compare one value with what was expected; `computed` is the type that it was computed in, if not its own."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        note = f"got {actual.dtype}{list(actual.shape)}, expected {expected.dtype}{list(expected.shape)}"
        return Difference(name, actual.shape, 0.0, float("inf"), agrees=False, note=note)
    if expected.dtype.kind != "f":
        wrong = int(np.count_nonzero(actual != expected))
        note = f"{wrong} of {expected.size} elements differ{_most_steps(actual, expected)}" if wrong else ""
        return Difference(name, actual.shape, 1.0, float(wrong > 0), agrees=not wrong, note=note)
    tolerance = (computed or element(expected.dtype)).tolerance
    return _compare_floats(actual.astype(np.float64), expected.astype(np.float64), name, tolerance)


def _most_steps(actual: np.ndarray, expected: np.ndarray) -> str:
    """By how many steps integers differ."""
    if expected.dtype.kind not in "iu":
        return ""
    apart = np.maximum(actual, expected) - np.minimum(actual, expected)  # modulo 2**bits, which unsigned it is exact
    steps = int(apart.view(f"u{apart.dtype.itemsize}").max())
    return f", by {steps} step{'s' if steps > 1 else ''} at most"


def compare_all(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], computed: Element | None = None
) -> tuple[Difference, ...]:
    """Compare every expected value; one that is missing does not agree. See `compare`."""
    missing = np.empty((0,), dtype=bool)
    return tuple(compare(actual.get(name, missing), value, name, computed) for name, value in expected.items())


def _compare_floats(actual: np.ndarray, expected: np.ndarray, name: str, tolerance: Tolerance) -> Difference:
    finite = np.isfinite(expected)
    scale = float(np.abs(expected[finite]).max(initial=0.0)) or 1.0
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(actual - expected) / scale)
        allowed = tolerance.absolute + tolerance.relative * np.abs(expected) / scale
        close = same | (finite & (error <= allowed))
    error = np.where(np.isfinite(error), error, np.inf)
    wrong = int(np.count_nonzero(~close))
    note = f"{wrong} of {expected.size} elements are out of tolerance" if wrong else ""
    return Difference(name, actual.shape, scale, float(error.max(initial=0.0)), agrees=not wrong, note=note)
