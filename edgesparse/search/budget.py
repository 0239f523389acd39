"""Budgets as a person writes them: "8ms", "3x", "1%"."""

from __future__ import annotations

import math
import re

from edgesparse.errors import SearchError

UNITS_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_NUMBER = r"(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?"


def parse_latency(text: str) -> float:
    """Microseconds of a latency such as "8ms", "500us" or "0.01 s".

    Raises: SearchError: it is no positive number with a unit.
    """
    found = re.fullmatch(rf"\s*({_NUMBER})\s*([^\d\s.]*)\s*", str(text))
    if found is None or float(found[1]) <= 0:
        raise SearchError(f"latency: got {text!r}, expected a positive time such as 8ms or 500us")
    if found[4] not in UNITS_US:
        got = f"the unit {found[4]!r}" if found[4] else "no unit"
        raise SearchError(f"latency: got {text!r} with {got}, expected us, ms or s")
    return _finite(float(found[1]) * UNITS_US[found[4]], "latency", text)


def parse_speedup(text: str | float) -> float:
    """How many times as fast as the dense model: 3, "3" or "3x"; above 1.

    Raises: SearchError: it is something else.
    """
    found = re.fullmatch(rf"\s*({_NUMBER})\s*x?\s*", str(text))
    if found is None or float(found[1]) <= 1:
        raise SearchError(f"speedup: got {text!r}, expected a number above 1 such as 3 or 3x")
    return _finite(float(found[1]), "speedup", text)


def parse_drop(text: str | float) -> float:
    """A share of the dense model's score, in [0, 1): "1%" or 0.01.

    Raises: SearchError: it is something else.
    """
    found = re.fullmatch(rf"\s*({_NUMBER})\s*(%?)\s*", str(text))
    share = float(found[1]) / (100 if found[4] else 1) if found else math.nan
    if not 0 <= share < 1:
        raise SearchError(f"max_accuracy_drop: got {text!r}, expected a share below 1 such as 1% or 0.01")
    return share


def _finite(value: float, name: str, text: object) -> float:
    if not math.isfinite(value):
        raise SearchError(f"{name}: got {text!r}, which is too large")
    return value
