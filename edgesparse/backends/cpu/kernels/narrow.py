"""Dense layers of few columns: y[M, N] = w[M, K] @ x[K, N] with the lanes of vectors over M instead of N.

A map of 7x7 leaves lanes of wide vectors empty; output channels fill them, whatever N is.

    for each panel of rows (and range of N):
        for each block of K, whose part of the panel stays in the L1 cache:
            for each group of `columns` neighbours of N:
                for each k: accumulate w[panel, k] * x[k, column] for every column, x broadcast from where it lies
        transpose in registers, store

Source: Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD architectures",
arXiv:1808.05567.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.dots import multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.math import hold, lanes_of
from edgesparse.backends.cpu.kernels.tiles import each_block
from edgesparse.backends.cpu.kernels.vectors import LINE, prefetch, store_first, transposed
from edgesparse.forms.narrow import Narrow, NarrowTile
from edgesparse.numerics import F32, I32, Numerics


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, offsets, panels, bias[, scale][, residual]; writes: y.

    Shapes: x flat; offsets int32 [K]; panels [groups, panels, K, vectors * lanes]; bias and scale [groups, panels *
        vectors * lanes]; residual and y [batch, groups * M, height, width].
    Over-read: residual, below 64 bytes. Order: ascending k.
    """
    plane, numerics = call.layer.plane, call.layer.numerics
    tile, epilogue, target = call.tile, call.epilogue, call.target
    assert isinstance(tile, NarrowTile)
    cut = Narrow(plane, tile, target.cpu.lanes(numerics.x))
    lanes = Lanes(cut.lanes, numerics.x)
    images = plane.batch * plane.groups
    panels = plane.groups * cut.panels
    y_rows = -(-plane.m // numerics.y.channels)
    params = [Param(plane.x_size, numerics.x), Param(plane.k, I32)]
    params += [Param(panels * plane.k * cut.rows, numerics.w), Param(panels * cut.rows, numerics.acc)]
    params += [Param(panels * cut.rows, F32)] if epilogue.is_scaled else []
    params += [Param(images * y_rows * plane.n, numerics.y)] * (2 if epilogue.residual else 1)

    def body(t: Expr, x: Buffer, offsets: Buffer, weights: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *others, y, area = rest
        scale = others.pop(0) if epilogue.is_scaled else None
        memory = _Memory(x, offsets, weights, bias, scale, others[0] if others else None, y, area)
        panel, index = T.bind(T.floormod(t, cut.panels)), T.bind(T.floordiv(t, cut.panels))
        number, split = T.bind(T.floormod(index, images)), T.bind(T.floordiv(index, images))
        first = T.bind(split * cut.share)
        end = T.bind(T.min(first + cut.share, cut.steps))

        def block(kb: Expr | int, size: int, **ends: bool) -> None:
            with T.serial(first, end) as step:
                _Block(call, cut, lanes, memory, number, panel, step, step - first).emit(kb, size, **ends)

        each_block(plane.k, tile.k_block, block)

    reads = len(params) - 1
    inplace = ((reads - 1, reads),) if epilogue.residual else ()
    symbol = kernel_symbol("narrow", numerics, f"{plane.name}_{tile.name}", target, plane, epilogue)
    scratch = Param(cut.share * tile.columns * cut.rows, numerics.acc)
    return build_kernel(symbol, params, cut.tiles, body, scratch=scratch, inplace=inplace)


@dataclass(frozen=True, eq=False)
class _Memory:
    """The buffers of the kernel."""

    x: Buffer
    offsets: Buffer
    weights: Buffer
    bias: Buffer
    scale: Buffer | None
    residual: Buffer | None
    y: Buffer
    area: Buffer  # scratch: the sums so far of a tile


@dataclass(frozen=True, eq=False)
class _Block:
    """Emits one panel of rows in one group of columns, for one block of K; `number` counts images and their groups."""

    call: LayerCall
    cut: Narrow
    lanes: Lanes
    memory: _Memory
    number: Expr
    panel: Expr
    step: Expr
    slot: Expr  # of the step in scratch

    @property
    def numerics(self) -> Numerics:
        """Element types."""
        return self.call.layer.numerics

    def emit(self, kb: Expr | int, size: int, *, first: bool, final: bool) -> None:
        """Accumulate over `size` columns of K, then keep the sums, or store the rows of the panel that exist."""
        cut, plane, lanes = self.cut, self.cut.plane, self.lanes
        accs = [lanes.sums(cut.rows) for _ in range(cut.tile.columns)]
        group = T.bind(T.floormod(self.number, plane.groups))
        area0, bias0 = T.bind(self.slot * (len(accs) * cut.rows)), T.bind((group * cut.panels + self.panel) * cut.rows)
        places = [(c, acc, u) for c, acc in enumerate(accs) for u in range(0, cut.rows, lanes.count)]
        for c, acc, u in places:
            begun = (self.memory.bias, bias0 + u) if first else (self.memory.area, area0 + (c * cut.rows + u))
            lanes.store(acc, u, lanes.load(*begun))
        self._accumulate(accs, group, kb, size)
        if not final:
            for c, acc, u in places:
                lanes.store(self.memory.area, area0 + (c * cut.rows + u), lanes.load(acc, u))
            return
        channels = self.numerics.y.channels
        row = self.number * -(-plane.m // channels) + self.panel * (cut.rows // channels)
        y0 = T.bind(row * plane.n + self.step * cut.tile.columns)
        rest = plane.m - (cut.panels - 1) * cut.rows
        if rest == cut.rows:
            self._finish(accs, bias0, y0, cut.rows)
            return
        with T.If(self.panel == cut.panels - 1):
            with T.Then():
                self._finish(accs, bias0, y0, rest)
            with T.Else():
                self._finish(accs, bias0, y0, cut.rows)

    def _accumulate(self, accs: list[Buffer], group: Expr, kb: Expr | int, size: int) -> None:
        """Add the products of a block of K to the sums, one buffer for each column.

        Every group of columns fetches a line of each column of the next block: else the first group would wait for all.
        """
        cut, plane, lanes, cpu = self.cut, self.cut.plane, self.lanes, self.call.target.cpu
        column = T.bind(self.step * cut.tile.columns)
        position = T.floordiv(column, plane.width) * plane.pitch + T.floormod(column, plane.width)
        image = T.floordiv(self.number, plane.groups) * plane.x_batch_stride + group * plane.x_group_stride
        x0 = T.bind(image + position)
        w0 = T.bind(((group * cut.panels + self.panel) * plane.k + kb * cut.tile.k_block) * cut.rows)
        lines = max(1, cut.rows // LINE)  # of a column of the panel
        ahead = T.bind(w0 + size * (cut.rows + T.min(self.slot, lines - 1) * LINE))
        starts = range(0, cut.rows, lanes.count)
        with T.serial(0, size) as k:
            source = T.bind(x0 + self.memory.offsets[kb * cut.tile.k_block + k])
            weights = [T.bind(lanes.load(self.memory.weights, w0 + k * cut.rows + u)) for u in starts]
            prefetch(self.memory.weights, ahead + k * LINE)
            for c, acc in enumerate(accs):
                value = lanes.splat(self.memory.x[source + c])
                for u, weight in zip(starts, weights, strict=True):
                    lanes.store(acc, u, multiply_add(self.numerics, cpu, lanes.load(acc, u), weight, value))

    def _finish(self, accs: list[Buffer], bias0: Expr, y0: Expr, rows: int) -> None:
        """Store the first `rows` rows, whose columns are neighbours."""
        lanes, epilogue, channels = self.lanes, self.call.epilogue, self.numerics.y.channels
        for u in range(0, rows, lanes.count):
            columns = [hold(lanes.load(acc, u)) for acc in accs]
            if self.memory.residual is None:
                scale = None if self.memory.scale is None else T.bind(lanes.load(self.memory.scale, bias0 + u))
                columns = [hold(epilogue.apply(column, None, scale)) for column in columns]
            found = transposed(columns)[: rows - u]
            for row in range(0, len(found), channels):
                several = found[row : row + channels]
                value = epilogue.word(several) if isinstance(epilogue, Requantized) else several[0]
                self._store(value, y0 + ((u + row) // channels) * self.cut.plane.n)

    def _store(self, value: Expr, place: Expr) -> None:
        place = T.bind(place)
        if self.memory.residual is not None:
            added = Lanes(lanes_of(value), self.lanes.element).load(self.memory.residual, place)
            value = hold(self.call.epilogue.apply(value, added))
        store_first(self.memory.y, place, value, self.cut.tile.columns)
