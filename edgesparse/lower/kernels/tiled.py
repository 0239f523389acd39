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
from functools import cached_property

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Cover, Patch, Plane, cover, patches, tile_width
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


@dataclass(frozen=True)
class _Work:
    """Sizes that follow from a layer, its tile and the vector length; counts are elements."""

    plane: Plane
    tile: Tile
    lanes: int

    @cached_property
    def cover(self) -> Cover:
        """The tiles of the output plane."""
        return cover(self.plane, self.tile.vectors * self.lanes, self.lanes)

    @cached_property
    def width(self) -> int:
        """A row of the packed x block."""
        return tile_width(self.plane, self.tile, self.lanes)

    @property
    def blocks(self) -> int:
        """Blocks of K."""
        return -(-self.plane.k // self.tile.k_block)

    @property
    def units(self) -> int:
        """Rows, or panels of rows."""
        return -(-self.plane.m // self.tile.rows)

    @property
    def split_units(self) -> int:
        """Units of one of the ranges that M is cut into."""
        return -(-self.units // self.tile.splits)

    @property
    def pack_size(self) -> int:
        """The packed x block; its last row may be copied past its end."""
        return min(self.plane.k, self.tile.k_block) * self.width + self.lanes

    @property
    def partial_size(self) -> int:
        """Sums of the blocks so far."""
        return self.split_units * self.tile.rows * self.width if self.blocks > 1 else 0

    @property
    def scratch_size(self) -> int:
        """Packed x, then partial sums, then one row of results."""
        return self.pack_size + self.partial_size + self.width

    @property
    def y_size(self) -> int:
        """The output of all images and groups."""
        return self.plane.batch * self.plane.groups * self.plane.m * self.plane.n

    @property
    def tiles(self) -> int:
        """Units of parallel work."""
        places = self.cover.row_tiles * self.cover.column_tiles
        return self.plane.batch * self.plane.groups * places * self.tile.splits


@dataclass(frozen=True, eq=False)
class _Memory:
    """The buffers of a kernel."""

    x: Buffer
    offsets: Buffer
    weights: Sequence[Buffer]
    bias: Buffer
    residual: Buffer | None
    y: Buffer
    area: Buffer  # scratch


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a tile begins: offsets into x and y, and its range of rows or panels."""

    group: Expr
    x0: Expr
    y0: Expr
    first_unit: Expr
    last_unit: Expr


def _build(
    form: str,
    plane: Plane,
    tile: Tile,
    epilogue: Epilogue,
    target: Target,
    weights: Sequence[Param],
    compute: type[_Compute],
) -> Kernel:
    work = _Work(plane, tile, target.lanes)
    params = [Param(plane.x_size), Param(plane.k, "int32"), *weights, Param(plane.groups * plane.m)]
    params += [Param(work.y_size)] * (2 if epilogue.residual else 1)

    def body(t: Expr, x: Buffer, offsets: Buffer, *rest: Buffer) -> None:
        bias, *residual, y, area = rest[len(weights) :]
        memory = _Memory(x, offsets, rest[: len(weights)], bias, residual[0] if residual else None, y, area)
        place, at_end = _locate(work, t)

        def run(patch: Patch) -> None:
            compute(work, patch, epilogue, memory, place).emit()

        full, *end = patches(plane, tile, target.lanes)
        if not end:
            run(full)
            return
        with T.If(at_end):
            with T.Then():
                run(end[0])
            with T.Else():
                run(full)

    reads = len(params) - 1
    inplace = ((reads - 1, reads),) if epilogue.residual else ()
    symbol = kernel_symbol("tiled", form, plane, tile, epilogue, tuple(weights), target.name)
    return build_kernel(symbol, params, work.tiles, body, scratch=Param(work.scratch_size), inplace=inplace)


def _locate(work: _Work, t: Expr) -> tuple[_Place, Expr]:
    """The place of tile `t`, and whether it is one of those that end the plane."""
    plane, shape = work.plane, work.cover
    split = T.bind(T.floormod(t, work.tile.splits))
    index = T.bind(T.floordiv(t, work.tile.splits))
    inner = shape.row_tiles * shape.column_tiles
    position, image = T.bind(T.floormod(index, inner)), T.bind(T.floordiv(index, inner))
    batch, group = T.floordiv(image, plane.groups), T.bind(T.floormod(image, plane.groups))
    row = T.floordiv(position, shape.column_tiles) * shape.rows
    column = T.floormod(position, shape.column_tiles) * shape.columns
    x0 = T.bind(batch * plane.x_batch_stride + group * plane.x_group_stride + row * plane.pitch + column)
    y0 = T.bind(image * (plane.m * plane.n) + row * plane.width + column)
    first_unit = T.bind(split * work.split_units)
    last_unit = T.bind(T.min(first_unit + work.split_units, work.units))
    if shape.column_tiles > 1:
        at_end = T.floormod(position, shape.column_tiles) == shape.column_tiles - 1
    else:
        at_end = position == inner - 1
    return _Place(group, x0, y0, first_unit, last_unit), at_end


@dataclass(frozen=True, eq=False)
class _Compute:
    """Emits one patch; a subclass accumulates rows from its weight format."""

    work: _Work
    patch: Patch
    epilogue: Epilogue
    memory: _Memory
    place: _Place

    @property
    def plane(self) -> Plane:
        """Geometry of the layer."""
        return self.work.plane

    @property
    def tile(self) -> Tile:
        """The tile as planned."""
        return self.work.tile

    @property
    def lanes(self) -> Lanes:
        """Full vectors."""
        return Lanes(self.work.lanes)

    def emit(self) -> None:
        """Every block of K in turn; the first starts from the bias, the last stores y."""
        last = self.work.blocks - 1

        def block(kb: Expr | int, size: int, first: bool, final: bool) -> None:
            self._pack(kb, size)
            self.rows(kb, size, first, final)

        if last > 0:
            block(0, self.tile.k_block, first=True, final=False)
        if last > 1:
            with T.serial(1, last) as kb:
                block(kb, self.tile.k_block, first=False, final=False)
        block(last, self.plane.k - last * self.tile.k_block, first=last == 0, final=True)

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        """Accumulate block `kb` of `size` columns of K into every row of the range."""
        raise NotImplementedError

    def _pack(self, kb: Expr | int, size: int) -> None:
        """Copy a block of x, its rows side by side: what a vector copies past its row, the next one overwrites."""
        columns, filled = self.patch.columns, self.patch.vectors * self.lanes.count
        step = Lanes(vector_width(columns, self.lanes.count))
        starts = [(r, c) for r in range(self.patch.rows) for c in range(0, columns, step.count)]
        reached = starts[-1][0] * columns + starts[-1][1] + step.count
        with T.serial(0, size) as k:
            source = T.bind(self.place.x0 + self.memory.offsets[kb * self.tile.k_block + k])
            row = T.bind(k * self.work.width)
            if reached < filled:  # leave no lane to chance: denormals are slow
                self.lanes.store(self.memory.area, row + filled - self.lanes.count, self.lanes.splat(0.0))
            for r, c in starts:
                step.store(
                    self.memory.area,
                    row + (r * columns + c),
                    step.load(self.memory.x, source + (r * self.plane.pitch + c)),
                )

    def _vectors(self) -> range:
        """Element offsets of the registers of a patch."""
        return range(0, self.patch.vectors * self.lanes.count, self.lanes.count)

    def _accumulator(self) -> Buffer:
        return T.alloc_buffer((self.patch.vectors * self.lanes.count,), "float32", scope="global")

    def _start(self, acc: Buffer, row: Expr, slot: Expr, first: bool) -> None:
        """Begin with the bias, or with the partial sum of the blocks before."""
        for u in self._vectors():
            if first:
                start = self.lanes.splat(self.memory.bias[self.place.group * self.plane.m + row])
            else:
                start = self.lanes.load(self.memory.area, self.work.pack_size + slot * self.work.width + u)
            self.lanes.store(acc, u, start)

    def _finish(self, acc: Buffer, row: Expr, slot: Expr, final: bool) -> None:
        """Keep the partial sum, or apply the epilogue and store the outputs."""
        if not final:
            for u in self._vectors():
                self.lanes.store(
                    self.memory.area, self.work.pack_size + slot * self.work.width + u, self.lanes.load(acc, u)
                )
            return
        y0 = T.bind(self.place.y0 + row * self.plane.n)
        if self.patch.size % self.lanes.count == 0:
            self._emit_run(acc, 0, y0, self.patch.size)
            return
        staging = self.work.pack_size + self.work.partial_size
        for u in self._vectors():
            self.lanes.store(self.memory.area, staging + u, self.lanes.load(acc, u))
        self._emit_run(self.memory.area, staging, y0, self.patch.size)

    def _emit_run(self, source: Buffer, start: int, target: Expr, count: int) -> None:
        """Store `count` neighbours in vectors that do not overlap, since y may lie over the residual."""
        width, at = self.lanes.count, 0
        while at < count:
            while width > count - at:
                width //= 2
            lanes = Lanes(width)
            residual = lanes.load(self.memory.residual, target + at) if self.memory.residual is not None else None
            lanes.store(self.memory.y, target + at, self.epilogue.apply(lanes.load(source, start + at), residual))
            at += width


class _Sparse(_Compute):
    """One row at a time: an index, a broadcast weight and `vectors` FMAs for each nonzero."""

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        indptr, indices, values = self.memory.weights
        with T.serial(self.place.first_unit, self.place.last_unit) as row:
            place = T.bind((kb * self.plane.groups + self.place.group) * self.plane.m + row)
            begin = T.bind(indptr[place])
            acc = self._accumulator()
            self._start(acc, row, row - self.place.first_unit, first)
            with T.serial(0, indptr[place + 1] - begin) as j:
                weight = T.bind(self.lanes.splat(values[begin + j]))
                column = T.bind(T.cast(indices[begin + j], "int32"))
                for u in self._vectors():
                    product = weight * self.lanes.load(self.memory.area, column + u)
                    self.lanes.store(acc, u, self.lanes.load(acc, u) + product)
            self._finish(acc, row, row - self.place.first_unit, final)


class _Dense(_Compute):
    """A panel of `tile.rows` rows at a time."""

    def rows(self, kb: Expr | int, size: int, first: bool, final: bool) -> None:
        (panels,) = self.memory.weights
        height = self.tile.rows
        count = -(-self.plane.m // height)
        with T.serial(self.place.first_unit, self.place.last_unit) as panel:
            start = T.bind(((self.place.group * self.work.blocks + kb) * count + panel) * (self.tile.k_block * height))
            accs = [self._accumulator() for _ in range(height)]

            def each(rows: int, action: Callable[[Buffer, Expr, Expr], None]) -> None:
                for r in range(rows):
                    action(accs[r], panel * height + r, (panel - self.place.first_unit) * height + r)

            def clamp(row: Expr) -> Expr:
                return row if self.plane.m % height == 0 else T.min(row, self.plane.m - 1)

            each(height, lambda acc, row, slot: self._start(acc, clamp(row), slot, first))
            with T.serial(0, size) as k:
                for u in self._vectors():
                    column = T.bind(self.lanes.load(self.memory.area, k * self.work.width + u))
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
