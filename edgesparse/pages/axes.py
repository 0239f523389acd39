"""Axes: where a value lies between the ends of a plot, and the values that are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which are finite and differ; both above 0 where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Iterable[float], *, log: bool = False, zero: bool = False) -> Axis:
        """One that holds all values, with some room; of any values, and of none.

        Args: zero: it begins at 0.
        """
        found = [value for value in values if abs(value) < 1e300 and (value > 1e-290 or not log)]
        low, high = (min(found), max(found)) if found else (1.0, 1.0)
        if log:
            return cls(max(low / 1.6, 1e-300), min(high * 1.6, 1e300), log=True)
        low, high = max(min(low, high), -1e300), min(high, 1e300)
        low = min(low, 0.0) if zero else low
        room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        return cls(low if zero else low - room, high + room)

    def at(self, value: float) -> float:
        """Its place as a share of the axis, in [0, 1]; what lies outside is at an end."""
        if self.log:
            share = (math.log(max(value, 1e-300)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values along it, at most so many and one more."""
        return self._decades(most) if self.log else self._rounds(most)

    def _rounds(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, first + most + 2) if number * step <= self.high * (1 + 1e-12)]

    def _decades(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if self.high < 12 * self.low:  # so short that it is all but linear
            return Axis(self.low, self.high)._rounds(most)
        if last - first >= 2:
            return [10.0**each for each in range(first, last + 1, -(-(last - first + 1) // most))]
        candidates = [size * 10.0**each for each in range(first - 1, last + 1) for size in (1, 2, 5)]
        return [each for each in candidates if self.low <= each <= self.high]
