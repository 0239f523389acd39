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
from edgesparse.lower.kernels.tiles import FLAT, Block, Compute, Tiled, build
from edgesparse.plan import Tile
from edgesparse.sparsity.formats import GroupedRows
from edgesparse.targets import Target

QUAD = 4  # short indices in a word, weights in a vector of 128 bits


def tiled_sparse(
    plane: Plane, tile: Tile, weight: GroupedRows, epilogue: Epilogue, target: Target, tiled: Tiled = FLAT
) -> Kernel:
    """Sparse form. Reads: x, offsets, indptr, indices, values, order, bias[, residual]; writes: y.

    Shapes: x, offsets, bias, residual and y as `tiled_dense`; the weight as `GroupedRows`.
    Over-read: x and residual, below 64 bytes. Order: ascending k.
    """
    arrays = (weight.indptr, weight.indices, weight.values, weight.order)
    params = [Param(array.size, array.dtype.name) for array in arrays]
    if tile.chunk == QUAD and params[1].dtype == "uint16":
        params[1] = Param(params[1].size // QUAD, "uint64")
    return build("sparse", plane, tile, epilogue, target, params, _Sparse, tiled)


class _Sparse(Compute):
    """`tile.rows` rows at a time, in block rows of `tile.block[0]` that share their indices.

    Where a step has weights for whole vectors of four, they are loaded so: AArch64 multiplies by an element of one.
    """

    def rows(self, kb: Expr | int, size: int, x: Block, first: bool, final: bool) -> None:
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
                    columns = self._columns(indices, entry)
                    weights = self._weights(values, entry)
                    for c, column in enumerate(columns):
                        for q in range(depth):
                            at = (c * depth + q) * height
                            self._multiply(accs[g], weights[at : at + height], x, column + q * self.work.width)
            for g, row in enumerate(rows):
                for r in range(height):
                    self._finish_row(accs[g][r], row + r, final)

    def _columns(self, indices: Buffer, entry: Expr) -> list[Expr]:
        """Where x lies for each entry of a chunk: of four short indices in one load."""
        if indices.dtype != "uint64":
            chunk = self.tile.chunk
            return [T.bind(T.cast(indices[entry * chunk + c], "int32")) for c in range(chunk)]
        word = T.bind(indices[entry])
        shifted = [T.shift_right(word, T.uint64(16 * c)) for c in range(QUAD)]
        return [T.bind(T.cast(T.bitwise_and(s, T.uint64(0xFFFF)), "int32")) for s in shifted]

    def _weights(self, values: Buffer, entry: Expr) -> list[Expr]:
        """The weights of a chunk: [chunk, columns, rows of the block]."""
        height, depth = self.tile.block
        count = self.tile.chunk * depth * height
        if self.lanes.count != QUAD or count % QUAD:
            return [values[entry * count + i] for i in range(count)]
        held = T.alloc_buffer((count,), "float32", scope="global")
        for i in range(0, count, QUAD):
            self.lanes.store(held, i, self.lanes.load(values, entry * count + i))
        return [held[i] for i in range(count)]

    def _multiply(self, accs: list[Buffer], weights: list[Expr], block: Block, column: Expr) -> None:
        for u, lanes in self._vectors():
            x = T.bind(lanes.load(block.buffer, block.start + column + u))
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
