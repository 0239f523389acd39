"""The tiled kernel family: y[M, N] = w[M, K] @ x[K, N], dense or sparse, convolution or linear.

N is the output plane of a convolution (or the tokens of a linear layer). x is read through `offsets`: element
(k, n) lies at `offsets[k] + position(n)`, so that a window, a stride or a dilation is only another table.

    for each tile of N (and range of M):
        for each block of K:
            pack the [k_block, tile] block of x
            for each row (sparse) or panel of rows (dense): accumulate in registers
        epilogue on registers, store

Between two layers that cut N alike, values may stay in tiles, [tiles, channels, width]: then nothing is packed.
A depthwise convolution may join the layer that it reads: then each range of M is computed for all of N into scratch
memory, and convolved there. What the two hand over never leaves the cache, and no core reads what another wrote.

Source: Elsen et al. 2019, "Fast Sparse ConvNets", arXiv:1911.09723; Goto and van de Geijn 2008 for the panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.dots import least_lanes, multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Epilogue, Requantized
from edgesparse.backends.cpu.kernels.kept import load_kept, store_kept
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.math import converted
from edgesparse.backends.cpu.kernels.words import Words
from edgesparse.backends.cpu.kernels.work import Work
from edgesparse.errors import InternalError
from edgesparse.forms.cut import Run
from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Plane
from edgesparse.numerics import F32, I32, QUAD


@dataclass(frozen=True, eq=False)
class Buffers:
    """The buffers of a kernel."""

    x: Buffer
    offsets: Buffer | None  # none where x lies in tiles
    weights: Sequence[Buffer]
    bias: Buffer
    scale: Buffer | None
    residual: Buffer | None
    y: Buffer
    area: Buffer  # scratch


@dataclass(frozen=True, eq=False)
class Place:
    """Where a tile begins, and its range of rows or panels.

    `x0` is its image in x, or itself where x lies in tiles; `row` and `column` are those of its first output.
    """

    group: Expr
    x0: Expr
    row: Expr
    column: Expr
    residual0: Expr
    y0: Expr
    first_unit: Expr
    last_unit: Expr


def build(call: LayerCall, weights: Sequence[Param], compute: type[Compute]) -> Kernel:
    """The kernel of one form: `weights` are the parameters of its format, `compute` emits a tile.

    With a depthwise convolution that is joined, weight and bias of that follow those of the layer, and y is its output;
    then neither the layer nor it has a residual, nor x several images or groups.
    """
    layer, epilogue, target, joined = call.layer, call.epilogue, call.target, call.joined
    work = Work(layer.plane, call.tile, layer.numerics, target.cpu, call.tiled)
    plane, tiled, numerics = work.plane, work.tiled, work.numerics
    if call.tile.splits > 1 and work.split_units * call.tile.rows % numerics.y.channels:
        raise InternalError(f"{call.tile.name}: ranges of {work.split_units} units cut words of y")
    params = [Param(work.x_size, numerics.x), *([] if tiled.x else [Param(plane.k, I32)])]
    params += [*weights, Param(plane.groups * plane.m, numerics.acc)]
    params += [Param(plane.groups * plane.m, F32)] if epilogue.is_scaled else []
    params += [Param(work.output_size(tiled.residual), numerics.y)] if epilogue.residual else []
    params += joined.constants if joined else []
    params.append(Param(joined.y_size if joined else work.output_size(tiled.y), numerics.y))

    def memory_of(x: Buffer, *rest: Buffer) -> Buffers:
        offsets = () if tiled.x else rest[:1]
        arrays, (bias, *others, y, area) = rest[len(offsets) :][: len(weights)], rest[len(offsets) + len(weights) :]
        scale = others.pop(0) if epilogue.is_scaled else None
        residual = others[0] if epilogue.residual else None
        return Buffers(x, offsets[0] if offsets else None, arrays, bias, scale, residual, y, area)

    def emit(memory: Buffers, place: Place, at_end: Expr) -> None:
        first, *last = work.runs
        if not last:
            compute(work, first, epilogue, memory, place).emit()
            return
        with T.If(at_end):
            with T.Then():
                compute(work, last[0], epilogue, memory, place).emit()
            with T.Else():
                compute(work, first, epilogue, memory, place).emit()

    def tile(t: Expr, *buffers: Buffer) -> None:
        emit(memory_of(*buffers), *_locate(work, t))

    def joined_range(split: Expr, *buffers: Buffer) -> None:
        assert joined
        memory, (w, bias) = memory_of(*buffers), buffers[-4:-2]
        channel = T.bind(split * (work.split_units * work.tile.rows))
        range0 = T.bind(work.range_start - channel * plane.n)  # where channel 0 would lie in the scratch memory
        with T.serial(0, work.places) as number:
            place, at_end = _locate(work, T.bind(split * work.places + number))
            emit(replace(memory, y=memory.area), replace(place, y0=T.bind(place.y0 + range0)), at_end)
        bands = joined.stencil.tiles // joined.channels
        last = T.bind(T.min(channel + work.split_units * work.tile.rows, plane.m))
        with T.serial(channel * bands, last * bands) as band:
            joined.emit(band, memory.area, w, bias, memory.y, x0=range0)

    reads = len(params) - 1
    inplace = ((reads - 1, reads),) if epilogue.residual and tiled.residual == tiled.y else ()
    shape = f"{work.tile.form}_{plane.name}_{work.tile.name}"
    facts = (plane, epilogue, tuple(weights), tiled, *([joined.facts] if joined else []))
    symbol = kernel_symbol("tiled_joined" if joined else "tiled", numerics, shape, target, *facts)
    if joined:
        scratch = Param(work.range_start + work.range_size, numerics.acc)
        return build_kernel(symbol, params, work.tile.splits, joined_range, scratch=scratch)
    return build_kernel(
        symbol, params, work.tiles, tile, scratch=Param(work.scratch_size, numerics.acc), inplace=inplace
    )


def split_of(t: Expr, tiles: int, splits: int) -> tuple[Expr, Expr]:
    """The range of M of tile `t`, and its place among the tiles of that range: neighbours share weights."""
    if splits == 1:
        return T.int32(0), t
    return T.bind(T.floordiv(t, tiles // splits)), T.bind(T.floormod(t, tiles // splits))


def _locate(work: Work, t: Expr) -> tuple[Place, Expr]:
    """The place of tile `t`, and whether it is one of those that end the plane."""
    plane = work.plane
    split, index = split_of(t, work.tiles, work.tile.splits)
    number, plane_number = T.bind(T.floormod(index, work.places)), T.bind(T.floordiv(index, work.places))
    group = T.bind(T.floormod(plane_number, plane.groups))
    image = T.floordiv(plane_number, plane.groups) * plane.x_batch_stride + group * plane.x_group_stride
    start = T.bind(number * (work.tile.vectors * work.lanes))
    first_unit = T.bind(split * work.split_units)
    x0 = number * (plane.k * work.width) if work.tiled.x else image
    flat, in_tiles = T.bind(plane_number * (work.y_rows * plane.n) + start), T.bind(number * (plane.m * work.width))
    place = Place(
        group,
        T.bind(x0),
        T.bind(T.floordiv(start, plane.width)),
        T.bind(T.floormod(start, plane.width)),
        in_tiles if work.tiled.residual else flat,
        in_tiles if work.tiled.y else flat,
        first_unit,
        T.bind(T.min(first_unit + work.split_units, work.units)),
    )
    return place, number == work.places - 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of x side by side: where they begin in a buffer."""

    buffer: Buffer
    start: Expr | int


class EmitBlock(Protocol):
    """Emits what is to be done for block `kb` of `size` columns of K."""

    def __call__(self, kb: Expr | int, size: int, *, first: bool, final: bool) -> None:
        """Emit it; `first` and `final` tell the ends of K."""


def each_block(k: int, k_block: int, emit: EmitBlock) -> None:
    """Emit every block of K in turn, all between the first and the last in a loop."""
    last = -(-k // k_block) - 1
    if last > 0:
        emit(0, k_block, first=True, final=False)
    if last > 1:
        with T.serial(1, last) as kb:
            emit(kb, k_block, first=False, final=False)
    emit(last, k - last * k_block, first=last == 0, final=True)


@dataclass(frozen=True, eq=False)
class Compute:
    """Emits one tile; a subclass accumulates rows from its weight format."""

    work: Work
    run: Run
    epilogue: Epilogue
    memory: Buffers
    place: Place

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
        return Lanes(self.work.lanes, self.work.numerics.x)

    def multiply_add(self, acc: Buffer, u: int, lanes: Lanes, w: Expr, x: Expr) -> None:
        """Accumulate the product of two vectors in a register."""
        lanes.store(acc, u, multiply_add(self.work.numerics, self.work.cpu, lanes.load(acc, u), w, x))

    def emit(self) -> None:
        """Every block of K in turn; the first starts from the bias, the last stores y, or what words are made of."""

        def block(kb: Expr | int, size: int, *, first: bool, final: bool) -> None:
            self.rows(kb, size, self._block(kb, size), first, final)

        each_block(self.plane.k, self.tile.k_block, block)
        if self.keeps_sums:
            self._store_kept()

    @property
    def keeps_sums(self) -> bool:
        """Words of y are made of sums that are kept, since their rows are not finished together."""
        return self._words is not None and not self.makes_quads

    @property
    def makes_quads(self) -> bool:
        """Rows that are finished together make whole quads."""
        raise NotImplementedError

    def rows(self, kb: Expr | int, size: int, x: Rows, first: bool, final: bool) -> None:
        """Accumulate block `kb` of `size` columns of K, and of x, into every row of the range."""
        raise NotImplementedError

    def _block(self, kb: Expr | int, size: int) -> Rows:
        """A block of x in rows of `work.width`: as it lies, or packed."""
        if self.work.tiled.x:
            return Rows(self.memory.x, T.bind(self.place.x0 + kb * (self.tile.k_block * self.work.width)))
        self._pack(kb, size)
        return Rows(self.memory.area, 0)

    def _pack(self, kb: Expr | int, size: int) -> None:
        """Copy a block of x, its rows side by side: what a vector copies past its row, the next one overwrites."""
        assert self.memory.offsets is not None
        pieces = [self._piece(number) for number in range(len(self.run.pieces))]
        end, vector = self._vectors()[-1]
        with T.serial(0, size) as k:
            source = T.bind(self.place.x0 + self.memory.offsets[kb * self.tile.k_block + k])
            row = T.bind(k * self.work.width)
            if end + vector.count > self.run.size:  # leave no lane to chance: denormals are slow
                vector.store(self.memory.area, row + end, vector.splat(0.0))
            for (start, goal), columns in zip(pieces, self.run.pieces, strict=True):
                step = self.lanes.narrowed(columns)
                for c in range(0, columns, step.count):
                    step.store(self.memory.area, row + (goal + c), step.load(self.memory.x, source + (start + c)))

    def _piece(self, number: int) -> tuple[Expr, Expr | int]:
        """Where a row of the run begins in a channel of x, and in the packed row."""
        row, column = self.place.row, self.place.column
        if number == 0:
            return T.bind(row * self.plane.pitch + column), 0
        inside = T.min(row + number, self.plane.height - 1)  # a tile may have fewer rows than others
        return T.bind(inside * self.plane.pitch), T.bind(number * self.plane.width - column)

    def _vectors(self) -> list[tuple[int, Lanes]]:
        """Element offsets of the registers of a run; the last is as narrow as it can be."""
        full = self.run.size // self.lanes.count * self.lanes.count
        vectors = [(u, self.lanes) for u in range(0, full, self.lanes.count)]
        rest = self.run.size - full
        least = least_lanes(self.work.numerics)
        return [*vectors, (full, self.lanes.narrowed(max(rest, least)))] if rest else vectors

    def _accumulator(self) -> Buffer:
        return self.lanes.sums(self.run.vectors(self.lanes.count) * self.lanes.count)

    def _clamp(self, row: Expr) -> Expr:
        """A row that exists, for one that only fills up its panel or group."""
        return row if self.plane.m % self.tile.rows == 0 else T.min(row, self.plane.m - 1)

    def _channel(self, row: Expr) -> Expr:
        return self.place.group * self.plane.m + row

    def _start(self, acc: Buffer, row: Expr, slot: Expr, first: bool) -> None:
        """Begin with the bias, or with the partial sum of the blocks before; with 0 where that is kept wider."""
        for u, lanes in self._vectors():
            bias = lanes.splat(self.memory.bias[self._channel(row)])
            if self.work.widens:
                if first:
                    store_kept(self.memory.area, self._kept(slot, u), lanes, bias)
                start = lanes.splat(0.0)
            else:
                start = bias if first else lanes.load(self.memory.area, self._kept(slot, u))
            lanes.store(acc, u, start)

    @property
    def _words(self) -> Words | None:
        """What stores outputs that are quads."""
        if not isinstance(self.epilogue, Requantized):
            return None
        assert self.memory.scale is not None
        scale0 = self.place.group * self.plane.m
        to = self.memory.y, self.memory.scale, scale0, self.place.y0
        return Words(self.epilogue, self.work.cpu, *to, self.plane.n, self.run.size, self._vectors())

    def _kept(self, slot: Expr, u: int = 0) -> Expr:
        """Where the sums of a row of the range are kept, from an output on."""
        return self.work.pack_size + slot * (self.work.width * self.work.kept_size) + u * self.work.kept_size

    def _store_kept(self) -> None:
        """Words of all rows of the range, which begins with a word."""
        words = self._words
        assert words is not None
        first = T.bind(self.place.first_unit * self.tile.rows)
        count = T.bind(T.min(self.place.last_unit * self.tile.rows, self.plane.m) - first)

        def store(slot: Expr, rows: int) -> None:
            words.store([(self.memory.area, T.bind(self._kept(slot + r))) for r in range(rows)], first + slot)

        with T.serial(0, T.shift_right(count, 2)) as quad:
            store(quad * QUAD, QUAD)
        rest = self.plane.m % QUAD
        if rest:
            with T.If(T.bitwise_and(count, QUAD - 1) > 0), T.Then():
                store(count - rest, rest)

    def finish(self, accs: Sequence[Buffer], row: Expr, slot: Expr, final: bool) -> None:
        """Keep the sums of neighbouring rows, or apply the epilogue and store the outputs."""
        if final and self._words is not None and self.makes_quads:
            self._words.store([(acc, 0) for acc in accs], row)
            return
        for r, acc in enumerate(accs):
            self._finish(acc, row + r, slot + r, final and not self.keeps_sums)

    def _finish(self, acc: Buffer, row: Expr, slot: Expr, final: bool) -> None:
        """Keep the partial sum, or apply the epilogue and store the outputs."""
        area = self.memory.area
        if self.work.widens:
            for u, lanes in self._vectors():
                kept = self._kept(slot, u)
                total = load_kept(area, kept, lanes) + converted(lanes.load(acc, u), self.work.numerics.kept.name)
                if final:
                    lanes.store(acc, u, converted(total, self.work.numerics.acc.name))
                else:
                    store_kept(area, kept, lanes, total)
        elif not final:
            for u, lanes in self._vectors():
                lanes.store(area, self._kept(slot, u), lanes.load(acc, u))
        if not final:
            return
        place, tiled = self.place, self.work.tiled
        r0 = T.bind(place.residual0 + row * self.work.row_pitch(tiled.residual))
        y0 = T.bind(place.y0 + row * self.work.row_pitch(tiled.y))
        for u, lanes in self._vectors():
            if tiled.y or u + lanes.count <= self.run.size:
                self._emit(acc, u, row, r0 + u, y0 + u, lanes)
                continue
            staging = self.work.pack_size + self.work.partial_size
            lanes.store(self.memory.area, staging, lanes.load(acc, u))
            self._emit_run(staging, row, r0 + u, y0 + u, self.run.size - u)

    def _emit_run(self, staging: int, row: Expr, residual: Expr, target: Expr, count: int) -> None:
        """Store `count` neighbours in vectors that do not overlap, since y may lie over the residual."""
        width, at = self.lanes.count, 0
        while at < count:
            while width > count - at:
                width //= 2
            lanes = self.lanes.narrowed(width)
            self._emit(self.memory.area, staging + at, row, residual + at, target + at, lanes)
            at += width

    def _emit(self, source: Buffer, start: int, row: Expr, residual: Expr, target: Expr, lanes: Lanes) -> None:
        memory = self.memory
        added = lanes.load(memory.residual, residual) if memory.residual is not None else None
        scale = lanes.splat(memory.scale[self._channel(row)]) if memory.scale is not None else None
        lanes.store(memory.y, target, self.epilogue.apply(lanes.load(source, start), added, scale))
