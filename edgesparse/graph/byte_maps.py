"""Functions from bytes to bytes: what a group of one operand does to each of the 256 numbers that it may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgesparse.graph.groups import Group, bounds_of

STEPS_TRIED = 8  # float32 numbers on either side of the ratio of the scales


@dataclass(frozen=True)
class Affine:
    """y = clamp(round((x - start) * scale) + zero, low, high), to nearest even, in float32."""

    start: int
    scale: float
    zero: int
    low: int
    high: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The function of int32 numbers."""
        scaled = np.rint((x - self.start).astype(np.float32) * np.float32(self.scale)).astype(np.int64)
        limited: np.ndarray = np.clip(scaled + self.zero, self.low, self.high)
        return limited


def domain(group: Group) -> np.ndarray:
    """The numbers that the operand of a group may be, ascending."""
    low, high = group.operands[0].by.limits
    return np.arange(low, high + 1)


def table_of(group: Group) -> np.ndarray:
    """What a group of a Relu or Clip gives for each number of its domain, every step in float32."""
    operand, by = group.operands[0].by, group.result.by
    assert by is not None
    real = (domain(group) - operand.zero).astype(np.float32) * operand.scale
    low, high = bounds_of(group.node) or (-np.inf, np.inf)
    for least, most in ((low, high), (group.result.low, group.result.high)):
        real = np.clip(real, np.float32(least), np.float32(most))
    table: np.ndarray = np.clip(np.rint(real / by.scale).astype(np.int64) + by.zero, *by.limits)
    return table


def affine_of(group: Group) -> Affine | None:
    """The multiplication that gives what a group gives, for every number; None where none of those tried does."""
    operand, by, table = group.operands[0].by, group.result.by, table_of(group)
    assert by is not None
    numbers, low, high = domain(group), int(table.min()), int(table.max())
    for scale in _near(np.float32(operand.scale / by.scale)):
        found = Affine(int(operand.zero), float(scale), int(by.zero), low, high)
        if np.array_equal(found(numbers), table):
            return found
    return None


def _near(ratio: np.float32) -> Iterator[np.float32]:
    yield ratio
    for end in (np.float32(np.inf), np.float32(0)):
        near = ratio
        for _ in range(STEPS_TRIED):
            near = np.nextafter(near, end)
            yield near
