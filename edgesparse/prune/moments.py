"""Second moments of what a layer reads: all that one-shot pruning needs to know of the calibration samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class MomentSum:
    """Adds up x x^T over the inputs x[K] of a layer at every position, in float64 over products in float32.

    `groups` is that of a grouped convolution, or counts the matrices of a batched product: rows of w[M, K] belong to
    the groups in order, M / groups to each.
    """

    def __init__(self, groups: int, k: int) -> None:
        self._sum = np.zeros((groups, k, k))
        self._count = 0

    def add(self, rows: np.ndarray) -> None:
        """Take in inputs at more positions.

        Shapes: rows [G, P, K].
        """
        rows = np.asarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum += rows.swapaxes(1, 2) @ rows
        self._count += rows.shape[1]

    @staticmethod
    def mean(parts: Sequence[MomentSum]) -> np.ndarray:
        """The mean of x x^T over all that `parts` took in, [G, K, K]."""
        total: np.ndarray = sum((part._sum for part in parts[1:]), parts[0]._sum)
        return total / max(1, sum(part._count for part in parts))


def damped(second: np.ndarray, share: float = 0.01) -> np.ndarray:
    """`second` [G, K, K] with a share of the mean of its diagonal added to the diagonal.

    Samples leave directions unseen; that a weight moves along one then still costs something.
    """
    diagonal = np.diagonal(second, axis1=1, axis2=2)
    ridge = share * diagonal.mean(axis=1)
    ridge[ridge == 0.0] = 1.0
    result: np.ndarray = second + ridge[:, None, None] * np.eye(second.shape[-1])
    return result


def output_error(before: np.ndarray, after: np.ndarray, second: np.ndarray) -> float:
    """Mean square of the change of a layer's outputs over the mean square of the outputs.

    Shapes: before, after [M, K]; second [G, K, K].
    """
    before = _grouped(before, second)
    change = _grouped(after, second) - before
    energy = np.vdot(before @ second, before)
    return float(np.vdot(change @ second, change) / energy) if energy > 0.0 else 0.0


def _grouped(weight: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`weight` [M, K] as float64 [G, M / G, K]."""
    return weight.astype(np.float64).reshape(second.shape[0], -1, weight.shape[1])
