"""Moments of what a layer reads and of what it should give: all that one-shot pruning needs to know of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import itemgetter

import numpy as np

from edgesparse.prune.rows import Rows

ROUNDS = 2
"""How often to fit again to what is seen of the outputs; more gain nothing."""
ROUNDING = 1e-12
"""A variance below this share of the mean square is rounding, and counts as none."""


@dataclass(frozen=True)
class Moments:
    """What calibration samples say of a layer with w[M, K], M rows in G groups.

    `second` [G, K, K] is the mean of x x^T over its inputs x[K]. Where it is known what its outputs t[M] should be,
    `cross` [G, M / G, K] is the mean of t x^T and `energy` that of t^T t. Where a bias follows, all are about the
    means `inputs` [G, K] and `outputs` [G, M / G], and the bias takes up what these differ by. `rows` are some of the
    positions, where what reads the outputs does not see all of them.
    """

    second: np.ndarray
    cross: np.ndarray | None = None
    energy: float = 0.0
    inputs: np.ndarray | None = None
    outputs: np.ndarray | None = None
    rows: Rows | None = None

    def fitted(self, solve: Callable[[Moments], np.ndarray]) -> tuple[np.ndarray, Moments]:
        """What `solve` makes of the moments, and of those that leave out what nothing behind the layer sees.

        Returns: the w[M, K], and the moments that it fits.
        """
        if self.rows is None:
            return solve(self), self
        tried, now = [], self
        while True:
            weight = solve(now)
            with np.errstate(over="ignore", invalid="ignore"):  # of float64, what is infinite in float32
                given = self.rows.given(_grouped(weight, self.second), now.bias(weight))
                tried.append((self.rows.error(given), weight, now))
                if len(tried) > ROUNDS or not np.isfinite(tried[-1][0]):
                    break
                now = self._visible(given)
        _, weight, now = min(tried, key=itemgetter(0))
        return weight, now

    def _visible(self, given: np.ndarray) -> Moments:
        """The moments of outputs that stay where those at `rows` are, `given`, wherever that makes no difference."""
        rows = self.rows
        assert rows is not None and self.cross is not None
        inputs = rows.inputs if self.inputs is None else rows.inputs - self.inputs[:, None, :].astype(np.float32)
        moves = rows.moves(given)
        mean = moves.mean(axis=1, dtype=np.float64)
        cross = self.cross + moves.swapaxes(1, 2) @ inputs / inputs.shape[1]
        energy = self.energy + float((moves * (2 * rows.outputs + moves)).sum(dtype=np.float64)) / inputs.shape[1]
        if self.outputs is None:
            return replace(self, cross=cross, energy=energy)
        energy -= float((mean * (2 * self.outputs + mean)).sum())
        return replace(self, cross=cross, energy=energy, outputs=self.outputs + mean)

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

    Products are those of what is apart from the first rows' mean: of inputs that hardly vary, float32 would leave
    little else. `groups` is that of a grouped convolution, or counts the matrices of a batched product: rows of w[M, K]
    belong to the groups in order, M / groups to each.
    """

    def __init__(self, groups: int, k: int) -> None:
        self._inputs = _Sum(groups, k)
        self._outputs: _Sum | None = None
        self._second = np.zeros((groups, k, k))
        self._cross: np.ndarray | float = 0.0
        self._squares = 0.0

    def add(self, rows: np.ndarray, outputs: np.ndarray | None = None) -> None:
        """Take in more positions: inputs, and what the layer should give there if that is known of all.

        Shapes: rows [G, P, K], outputs [G, P, M / G].
        """
        if rows.shape[1] == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            rows = self._inputs.apart(_wide(rows))
            self._second += rows.swapaxes(1, 2) @ rows
            if outputs is not None:
                self._outputs = self._outputs or _Sum(len(outputs), outputs.shape[2])
                outputs = self._outputs.apart(_wide(outputs))
                self._cross = self._cross + (outputs.swapaxes(1, 2) @ rows).astype(np.float64)
                self._squares += float(np.square(outputs).sum(dtype=np.float64))

    @staticmethod
    def mean(parts: Sequence[MomentSum], *, centred: bool = False) -> Moments:
        """The moments over all that `parts` took in, about the means if `centred`."""
        count = max(1, sum(part._inputs.count for part in parts))
        with np.errstate(over="ignore", invalid="ignore"):
            second = _added(part._inputs.whole(part._second, part._inputs) for part in parts) / count
            sides = [(part, part._outputs) for part in parts if part._outputs is not None]
            if len(sides) < len(parts):
                return Moments(second)
            inputs = _added(part._inputs.total for part in parts) / count
            outputs = _added(side.total for _, side in sides) / count
            cross = _added(side.whole(np.asarray(part._cross), part._inputs) for part, side in sides) / count
            energy = sum(part._squares + side.energy for part, side in sides) / count
            if not centred:
                return Moments(second, cross, energy)
            varying = _varies(second, inputs)
            second = (second - inputs[:, :, None] * inputs[:, None, :]) * varying[:, :, None] * varying[:, None, :]
            cross = (cross - outputs[:, :, None] * inputs[:, None, :]) * varying[:, None, :]
            return Moments(second, cross, energy - float(np.square(outputs).sum()), inputs, outputs)


class _Sum:
    """The sum of rows [G, P, N], kept as what is apart from a constant near their mean."""

    def __init__(self, groups: int, size: int) -> None:
        self.count = 0
        self._about: np.ndarray | None = None
        self._apart = np.zeros((groups, size))

    def apart(self, rows: np.ndarray) -> np.ndarray:
        """Take in rows; returns what they are apart from the constant."""
        if self._about is None:
            self._about = rows.mean(axis=1)
        apart: np.ndarray = rows - self._about[:, None, :]
        self._apart += apart.sum(axis=1, dtype=np.float64)
        self.count += rows.shape[1]
        return apart

    @property
    def _constant(self) -> np.ndarray:
        return np.zeros_like(self._apart) if self._about is None else self._about.astype(np.float64)

    @property
    def total(self) -> np.ndarray:
        """The sum of the rows themselves, [G, N]."""
        total: np.ndarray = self._apart + self.count * self._constant
        return total

    @property
    def energy(self) -> float:
        """What the sum of squares of the rows has besides that of what is apart."""
        return float(np.vdot(self._constant, 2 * self._apart + self.count * self._constant))

    def whole(self, products: np.ndarray, other: _Sum) -> np.ndarray:
        """The sum of products of these rows with others, [G, N, N'], from that of what is apart."""
        whole: np.ndarray = (
            products
            + self._constant[:, :, None] * other.total[:, None, :]
            + self._apart[:, :, None] * other._constant[:, None, :]
        )
        return whole


def _varies(second: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Whether each input varies, [G, K], beyond what is left by rounding of the difference of its moments."""
    squares = np.diagonal(second, axis1=1, axis2=2)
    varies: np.ndarray = ~(squares - inputs**2 <= ROUNDING * squares)
    return varies


def _added(arrays: Iterable[np.ndarray]) -> np.ndarray:
    total: np.ndarray = reduce(np.add, arrays)
    return total


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
