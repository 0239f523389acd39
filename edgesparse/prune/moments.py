"""Moments of what a layer reads and of what it should give: all that one-shot pruning needs to know of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """What calibration samples say of a layer with w[M, K], M rows in G groups.

    `second` [G, K, K] is the mean of x x^T over its inputs x[K]. Where it is known what its outputs t[M] should be,
    `cross` [G, M / G, K] is the mean of t x^T and `energy` that of t^T t. Where a bias follows, all are about the
    means `inputs` [G, K] and `outputs` [G, M / G], and the bias takes up what these differ by.
    """

    second: np.ndarray
    cross: np.ndarray | None = None
    energy: float = 0.0
    inputs: np.ndarray | None = None
    outputs: np.ndarray | None = None

    def goal(self, weight: np.ndarray) -> np.ndarray:
        """The w[M, K] with the zeros of `weight` whose outputs are closest to what they should be; `weight` is a start.

        Directions that the samples leave unseen keep the `weight` that they had.
        """
        if self.cross is None:
            return weight
        missing = self.cross - _grouped(weight, self.second) @ self.second
        change = np.linalg.solve(damped(self.second), missing.swapaxes(1, 2)).swapaxes(1, 2)
        return np.where(weight != 0, weight + change.reshape(weight.shape), 0.0)

    def bias(self, weight: np.ndarray) -> np.ndarray | None:
        """What is to be added to the outputs of `weight` [M, K], [M]; None where there is no bias."""
        if self.inputs is None or self.outputs is None:
            return None
        offset: np.ndarray = self.outputs - (_grouped(weight, self.second) @ self.inputs[..., None])[..., 0]
        return offset.reshape(-1)

    def error(self, dense: np.ndarray, weight: np.ndarray) -> float:
        """Mean square of what outputs with `weight` differ by from what they should be, over their mean square."""
        if self.cross is None:
            return output_error(dense, weight, self.second)
        rows = _grouped(weight, self.second)
        off = self.energy - 2 * np.vdot(rows, self.cross) + np.vdot(rows @ self.second, rows)
        return float(max(off, 0.0) / self.energy) if self.energy > 0.0 else 0.0


class MomentSum:
    """Adds up the moments of a layer at every position, in float64 over products in float32.

    `groups` is that of a grouped convolution, or counts the matrices of a batched product: rows of w[M, K] belong to
    the groups in order, M / groups to each.
    """

    def __init__(self, groups: int, k: int) -> None:
        self._second = np.zeros((groups, k, k))
        self._inputs = np.zeros((groups, k))
        self._cross: np.ndarray | float = 0.0
        self._outputs: np.ndarray | float = 0.0
        self._energy = 0.0
        self._count = 0

    def add(self, rows: np.ndarray, outputs: np.ndarray | None = None) -> None:
        """Take in more positions: inputs, and what the layer should give there if that is known of all.

        Shapes: rows [G, P, K], outputs [G, P, M / G].
        """
        rows = _wide(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            self._second += rows.swapaxes(1, 2) @ rows
            if outputs is not None:
                outputs = _wide(outputs)
                self._inputs += rows.sum(axis=1, dtype=np.float64)
                self._cross = self._cross + (outputs.swapaxes(1, 2) @ rows).astype(np.float64)
                self._outputs = self._outputs + outputs.sum(axis=1, dtype=np.float64)
                self._energy += float(np.square(outputs).sum(dtype=np.float64))
        self._count += rows.shape[1]

    @staticmethod
    def mean(parts: Sequence[MomentSum], *, centred: bool = False) -> Moments:
        """The moments over all that `parts` took in, about the means if `centred`."""
        count = max(1, sum(part._count for part in parts))
        second = sum((part._second for part in parts[1:]), parts[0]._second) / count
        if isinstance(parts[0]._cross, float):
            return Moments(second)
        cross, inputs, outputs = (
            sum(getattr(part, name) for part in parts) / count for name in ("_cross", "_inputs", "_outputs")
        )
        energy = sum(part._energy for part in parts) / count
        if not centred:
            return Moments(second, cross, energy)
        second = second - inputs[:, :, None] * inputs[:, None, :]
        cross = cross - outputs[:, :, None] * inputs[:, None, :]
        return Moments(second, cross, energy - float(np.square(outputs).sum()), inputs, outputs)


def _wide(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)


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
