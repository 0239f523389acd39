"""Find which channels of a network are left in a smaller one: those whose values are most alike, in the same order."""

from __future__ import annotations

import numpy as np
import torch


class Left:
    """What is left of a value of the larger network: of the one axis that is longer there, some places."""

    def __init__(self, axis: int, places: np.ndarray) -> None:
        self.axis, self.places = axis, torch.from_numpy(places)

    def of(self, value: torch.Tensor) -> torch.Tensor:
        """`value` of the larger network in the shape that it has in the smaller one."""
        return value.index_select(self.axis, self.places)


def left(large: torch.Tensor, small: torch.Tensor) -> Left | None:
    """What is left of `large` in `small`, the same value for the same inputs.

    Returns: None where it is not that one axis has become shorter.
    """
    axes = [at for at, (one, other) in enumerate(zip(large.shape, small.shape, strict=False)) if one != other]
    if large.dim() != small.dim() or len(axes) != 1 or large.shape[axes[0]] < small.shape[axes[0]]:
        return None
    one, other = (each.movedim(axes[0], 0).flatten(1).double() for each in (large, small))
    return Left(axes[0], _in_order((2.0 * other @ one.T - one.square().sum(1)).numpy()))


def _in_order(likeness: np.ndarray) -> np.ndarray:
    """The rising column of each row [S, T] with the largest sum, S at most T.

    By dynamic programming: what the first rows make of the first columns.
    """
    rows, columns = likeness.shape
    tried = np.full((rows, columns), -np.inf)
    best = np.zeros(columns)
    for at, row in enumerate(likeness):
        before = np.full(columns, -np.inf) if at else np.zeros(columns)
        if at:
            before[1:] = best[:-1]
        tried[at] = before + row
        best = np.maximum.accumulate(tried[at])
    chosen, end = np.zeros(rows, np.int64), columns
    for at in range(rows - 1, -1, -1):
        end = int(np.argmax(tried[at, :end]))
        chosen[at] = end
    return chosen
