"""Second moments of what a layer reads: all that one-shot pruning needs to know of the calibration samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Means over positions of the inputs x[K] of a layer, for each of its G groups.

    Shapes: second [G, K, K] is the mean of x x^T, first [G, K] that of x; rows of w[M, K] belong to the groups in
    order, M / G to each.
    """

    second: np.ndarray
    first: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The mean of (x - mean) (x - mean)^T, [G, K, K]: what is left to a layer whose bias takes up the mean."""
        centred: np.ndarray = self.second - self.first[:, :, None] * self.first[:, None, :]
        return centred


class MomentSum:
    """Adds up moments batch by batch, in float64 over products in float32."""

    def __init__(self, groups: int, k: int) -> None:
        self._second = np.zeros((groups, k, k))
        self._first = np.zeros((groups, k))
        self._count = 0

    def add(self, rows: np.ndarray) -> None:
        """Take in inputs at more positions.

        Shapes: rows [G, P, K].
        """
        rows = np.asarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
        self._second += rows.swapaxes(1, 2) @ rows
        self._first += rows.sum(axis=1, dtype=np.float64)
        self._count += rows.shape[1]

    def mean(self) -> Moments:
        """The moments so far."""
        count = max(1, self._count)
        return Moments(self._second / count, self._first / count)
