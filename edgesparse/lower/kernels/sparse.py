"""The sparse form of the tiled kernels: groups of rows of w against the packed block of x.

A step takes, for each row (or block row) of a group, one index and its weights; the rows of a group end together.

Source: Elsen et al. 2019, "Fast Sparse ConvNets", arXiv:1911.09723.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Plane
from edgesparse.lower.kernel import Kernel, Param
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.lower.kernels.tiles import Compute, build
from edgesparse.plan import Tile
from edgesparse.sparsity.formats import GroupedRows
from edgesparse.targets import Target


def tiled_sparse(plane: Plane, tile: Tile, weight: GroupedRows, epilogue: Epilogue, target: Target) -> Kernel:
    """Sparse form. Reads: x, offsets, indptr, indices, values, order, bias[, residual]; writes: y.

    Shapes: x, offsets, bias, residual and y as `tiled_dense`; the weight as `GroupedRows`.
    Over-read: x and residual, below 64 bytes. Order: ascending k.
    """
    arrays = (weight.indptr, weight.indices, weight.values, weight.order)
    params = [Param(array.size, array.dtype.name) for array in arrays]
    return build("sparse", plane, tile, epilogue, target, params, _Sparse)


class _Sparse(Compute):
    """`tile.rows` rows at a time, in block rows of `tile.block[0]` that share their indices."""

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        indptr, indices, values, order = self.memory.weights
        (height, depth), group = self.tile.block, self.tile.rows // self.tile.block[0]
        with T.serial(self.place.first_unit, self.place.last_unit) as unit:
            place = T.bind((kb * self.plane.groups + self.place.group) * self.work.units + unit)
            begin = T.bind(indptr[place])
            rows = [T.bind(T.cast(order[place * group + g], "int32") * height) for g in range(group)]
            accs = [[self._accumulator() for _ in range(height)] for _ in range(group)]
            for g, row in enumerate(rows):
                for r in range(height):
                    self._start(accs[g][r], self._clamp(row + r), self._slot(row + r), first)
            with T.serial(0, indptr[place + 1] - begin) as step:
                for g in range(group):
                    entry = T.bind((begin + step) * group + g)
                    column = T.bind(T.cast(indices[entry], "int32"))
                    for q in range(depth):
                        weights = [values[(entry * depth + q) * height + r] for r in range(height)]
                        self._multiply(accs[g], weights, column + q * self.work.width)
            for g, row in enumerate(rows):
                for r in range(height):
                    self._finish_row(accs[g][r], row + r, final)

    def _multiply(self, accs: list[Buffer], weights: list[Expr], column: Expr) -> None:
        for u, lanes in self._vectors():
            x = T.bind(lanes.load(self.memory.area, column + u))
            for acc, weight in zip(accs, weights, strict=True):
                lanes.store(acc, u, lanes.load(acc, u) + lanes.splat(weight) * x)

    def _slot(self, row: Expr) -> Expr:
        return row - self.place.first_unit * self.tile.rows

    def _finish_row(self, acc: Buffer, row: Expr, final: bool) -> None:
        """Rows that only fill up the last group are not stored."""
        if not final or self.plane.m % self.tile.rows == 0:
            self._finish(acc, row, self._slot(row), final)
            return
        with T.If(row < self.plane.m), T.Then():
            self._finish(acc, row, self._slot(row), final)
