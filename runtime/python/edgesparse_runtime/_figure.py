"""A number that says how it was got."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """How a figure was got."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Figure:
    """A value, its unit, its origin, and in words how it was got or why it is missing.

    `low` and `high` are the ends of the interval that holds the true value with a confidence of 95 %, where one is
    known.
    """

    value: float | None
    unit: str
    origin: Origin
    how: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def unavailable(cls, unit: str, why: str) -> Figure:
        """A figure that could not be had."""
        return cls(None, unit, Origin.UNAVAILABLE, why)
