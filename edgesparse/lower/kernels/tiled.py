"""The tiled kernel family: y[M, N] = w[M, K] @ x[K, N], dense or sparse, convolution or linear.

N is the output plane of a convolution (or the tokens of a linear layer). x is read through `offsets`: element
(k, n) lies at `offsets[k] + position(n)`, so that a window, a stride or a dilation is only another table.

    for each tile of N (and range of M):
        for each block of K:
            pack the [k_block, tile] block of x
            for each row (sparse) or panel of rows (dense): accumulate in registers
        epilogue on registers, store

Source: Elsen et al. 2019, "Fast Sparse ConvNets", arXiv:1911.09723; Goto and van de Geijn 2008 for the panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Patch, Plane, cover, patches, tile_width
from edgesparse.lower.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.lower.kernels.vectors import vector_width
from edgesparse.plan import Tile
from edgesparse.targets import Target


def tiled_dense(plane: Plane, tile: Tile, epilogue: Epilogue, target: Target) -> Kernel:
    """Dense form. Reads: x, offsets, panels, bias[, residual]; writes: y.

    Shapes: x flat; offsets int32 [K]; panels [groups, blocks, panels, k_block, rows]; bias [groups * M];
        residual and y [batch, groups * M, height, width].
    Over-read: x and residual, below 64 bytes. Order: ascending k inside a block, blocks in order.
    """
    blocks, panels = -(-plane.k // tile.k_block), -(-plane.m // tile.rows)
    weights = [Param(plane.groups * blocks * panels * tile.k_block * tile.rows)]
    return _build("dense", plane, tile, epilogue, target, weights, _Dense)


def tiled_sparse(plane: Plane, tile: Tile, nnz: int, index_dtype: str, epilogue: Epilogue, target: Target) -> Kernel:
    """Unstructured sparse form. Reads: x, offsets, indptr, indices, values, bias[, residual]; writes: y.

    Shapes: as `tiled_dense`; the weight as `BlockedCsr` over groups * M rows, indices scaled by the tile width.
    Over-read: x and residual, below 64 bytes. Order: ascending k.
    """
    blocks = -(-plane.k // tile.k_block)
    weights = [Param(blocks * plane.groups * plane.m + 1, "int32"), Param(nnz, index_dtype), Param(nnz)]
    return _build("sparse", plane, tile, epilogue, target, weights, _Sparse)


def _build(
    form: str,
    plane: Plane,
    tile: Tile,
    epilogue: Epilogue,
    target: Target,
    weights: Sequence[Param],
    compute: type[_Compute],
) -> Kernel:
    lanes = target.lanes
    shape = cover(plane, tile.vectors * lanes, lanes)
    width = tile_width(plane, tile, lanes)
    blocks = -(-plane.k // tile.k_block)
    units = -(-plane.m // tile.rows)  # rows, or panels of rows
    split_units = -(-units // tile.splits)
    y_size = plane.batch * plane.groups * plane.m * plane.n
    params = [Param(plane.x_size), Param(plane.k, "int32"), *weights, Param(plane.groups * plane.m)]
    params += [Param(y_size)] * (2 if epilogue.residual else 1)
    pack_size = min(plane.k, tile.k_block) * width + lanes  # the last row may be copied past its end
    partial_size = split_units * tile.rows * width if blocks > 1 else 0
    scratch = Param(pack_size + partial_size + width)
    tiles = plane.batch * plane.groups * shape.row_tiles * shape.column_tiles * tile.splits

    def body(t: Expr, x: Buffer, offsets: Buffer, *rest: Buffer) -> None:
        weight_buffers, (bias, *residual, y, area) = rest[: len(weights)], rest[len(weights) :]
        split = T.bind(T.floormod(t, tile.splits))
        place = T.bind(T.floordiv(t, tile.splits))
        inner = shape.row_tiles * shape.column_tiles
        position, image = T.bind(T.floormod(place, inner)), T.bind(T.floordiv(place, inner))
        batch, group = T.floordiv(image, plane.groups), T.bind(T.floormod(image, plane.groups))
        row = T.floordiv(position, shape.column_tiles) * shape.rows
        column = T.floormod(position, shape.column_tiles) * shape.columns
        x0 = T.bind(batch * plane.x_batch_stride + group * plane.x_group_stride + row * plane.pitch + column)
        y0 = T.bind(image * (plane.m * plane.n) + row * plane.width + column)
        first_unit = T.bind(split * split_units)
        last_unit = T.bind(T.min(first_unit + split_units, units))

        def run(patch: Patch) -> None:
            compute(
                plane, tile, patch, Lanes(lanes), epilogue, width, blocks,
                weight_buffers, bias, residual[0] if residual else None, y, area,
                pack_size, partial_size, group, y0, first_unit, last_unit,
            ).emit(x, offsets, x0)  # fmt: skip

        full, *end = patches(plane, tile, lanes)
        if not end:
            run(full)
            return
        at_end = (
            T.floormod(position, shape.column_tiles) == shape.column_tiles - 1
            if shape.column_tiles > 1
            else position == inner - 1
        )
        with T.If(at_end):
            with T.Then():
                run(end[0])
            with T.Else():
                run(full)

    reads = len(params) - 1
    inplace = ((reads - 1, reads),) if epilogue.residual else ()
    symbol = kernel_symbol("tiled", form, plane, tile, epilogue, tuple(weights), target.name)
    return build_kernel(symbol, params, tiles, body, scratch=scratch, inplace=inplace)


@dataclass(frozen=True, eq=False)
class _Compute:
    """Emits one patch; a subclass accumulates rows from its weight format."""

    plane: Plane
    tile: Tile
    patch: Patch
    lanes: Lanes
    epilogue: Epilogue
    width: int
    blocks: int
    weights: Sequence[Buffer]
    bias: Buffer
    residual: Buffer | None
    y: Buffer
    area: Buffer  # scratch: packed x, then partial sums, then one row of results
    pack_size: int
    partial_size: int
    group: Expr
    y0: Expr
    first_unit: Expr
    last_unit: Expr

    def emit(self, x: Buffer, offsets: Buffer, x0: Expr) -> None:
        last = self.blocks - 1

        def block(kb: Expr | int, size: int, first: bool, final: bool) -> None:
            self._pack(x, offsets, x0, kb, size)
            self.rows(kb, size, first, final)

        if last > 0:
            block(0, self.tile.k_block, first=True, final=False)
        if last > 1:
            with T.serial(1, last) as kb:
                block(kb, self.tile.k_block, first=False, final=False)
        block(last, self.plane.k - last * self.tile.k_block, first=last == 0, final=True)

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        raise NotImplementedError

    def _pack(self, x: Buffer, offsets: Buffer, x0: Expr, kb: Expr | int, size: int) -> None:
        """Copy a block of x, its rows side by side: what a vector copies past its row, the next one overwrites."""
        columns, filled = self.patch.columns, self.patch.vectors * self.lanes.count
        step = Lanes(vector_width(columns, self.lanes.count))
        starts = [(r, c) for r in range(self.patch.rows) for c in range(0, columns, step.count)]
        reached = starts[-1][0] * columns + starts[-1][1] + step.count
        with T.serial(0, size) as k:
            source = T.bind(x0 + offsets[kb * self.tile.k_block + k])
            row = T.bind(k * self.width)
            if reached < filled:  # leave no lane to chance: denormals are slow
                self.lanes.store(self.area, row + filled - self.lanes.count, self.lanes.splat(0.0))
            for r, c in starts:
                step.store(self.area, row + (r * columns + c), step.load(x, source + (r * self.plane.pitch + c)))

    def _vectors(self) -> range:
        """Element offsets of the registers of a patch."""
        return range(0, self.patch.vectors * self.lanes.count, self.lanes.count)

    def _accumulator(self) -> Buffer:
        return T.alloc_buffer((self.patch.vectors * self.lanes.count,), "float32", scope="global")

    def _start(self, acc: Buffer, row: Expr, slot: Expr, first: bool) -> None:
        """Begin with the bias, or with the partial sum of the blocks before."""
        for u in self._vectors():
            if first:
                start = self.lanes.splat(self.bias[self.group * self.plane.m + row])
            else:
                start = self.lanes.load(self.area, self.pack_size + slot * self.width + u)
            self.lanes.store(acc, u, start)

    def _finish(self, acc: Buffer, row: Expr, slot: Expr, final: bool) -> None:
        """Keep the partial sum, or apply the epilogue and store the outputs."""
        if not final:
            for u in self._vectors():
                self.lanes.store(self.area, self.pack_size + slot * self.width + u, self.lanes.load(acc, u))
            return
        y0 = T.bind(self.y0 + row * self.plane.n)
        if self.patch.size % self.lanes.count == 0:
            self._emit_run(acc, 0, y0, self.patch.size)
            return
        staging = self.pack_size + self.partial_size
        for u in self._vectors():
            self.lanes.store(self.area, staging + u, self.lanes.load(acc, u))
        self._emit_run(self.area, staging, y0, self.patch.size)

    def _emit_run(self, source: Buffer, start: int, target: Expr, count: int) -> None:
        """Store `count` neighbours in vectors that do not overlap, since y may lie over the residual."""
        width, at = self.lanes.count, 0
        while at < count:
            while width > count - at:
                width //= 2
            lanes = Lanes(width)
            residual = lanes.load(self.residual, target + at) if self.residual is not None else None
            lanes.store(self.y, target + at, self.epilogue.apply(lanes.load(source, start + at), residual))
            at += width


class _Sparse(_Compute):
    """One row at a time: an index, a broadcast weight and `vectors` FMAs for each nonzero."""

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        indptr, indices, values = self.weights
        with T.serial(self.first_unit, self.last_unit) as row:
            place = T.bind((kb * self.plane.groups + self.group) * self.plane.m + row)
            begin = T.bind(indptr[place])
            acc = self._accumulator()
            self._start(acc, row, row - self.first_unit, first)
            with T.serial(0, indptr[place + 1] - begin) as j:
                weight = T.bind(self.lanes.splat(values[begin + j]))
                column = T.bind(T.cast(indices[begin + j], "int32"))
                for u in self._vectors():
                    product = weight * self.lanes.load(self.area, column + u)
                    self.lanes.store(acc, u, self.lanes.load(acc, u) + product)
            self._finish(acc, row, row - self.first_unit, final)


class _Dense(_Compute):
    """A panel of `tile.rows` rows at a time."""

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        (panels,) = self.weights
        height = self.tile.rows
        count = -(-self.plane.m // height)
        with T.serial(self.first_unit, self.last_unit) as panel:
            start = T.bind(((self.group * self.blocks + kb) * count + panel) * (self.tile.k_block * height))
            accs = [self._accumulator() for _ in range(height)]

            def each(rows: int, action: Callable[[Buffer, Expr, Expr], None]) -> None:
                for r in range(rows):
                    action(accs[r], panel * height + r, (panel - self.first_unit) * height + r)

            def clamp(row: Expr) -> Expr:
                return row if self.plane.m % height == 0 else T.min(row, self.plane.m - 1)

            each(height, lambda acc, row, slot: self._start(acc, clamp(row), slot, first))
            with T.serial(0, size) as k:
                for u in self._vectors():
                    column = T.bind(self.lanes.load(self.area, k * self.width + u))
                    for r in range(height):
                        weight = self.lanes.splat(panels[start + k * height + r])
                        self.lanes.store(accs[r], u, self.lanes.load(accs[r], u) + weight * column)

            def finish(rows: int) -> None:
                each(rows, lambda acc, row, slot: self._finish(acc, row, slot, final))

            if not final or self.plane.m % height == 0:
                finish(height)
                return
            with T.If(panel == count - 1):
                with T.Then():
                    finish(self.plane.m % height)
                with T.Else():
                    finish(height)
