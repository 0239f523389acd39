"""Dense 3x3 convolution at unit stride by minimal filtering: F(2x2, 3x3), 16 products for 2x2 outputs instead of 36.

    for each block of rows of 2x2 output squares (and range of M):
        for each input channel: V[16, C, squares] = B^T d B, d being the 4x4 inputs that a square reads
        for each panel of rows of U[16, M, C]:
            for each of the 16: P = U @ V, accumulated in registers
            y = A^T P A + bias, epilogue, store

V and P stay in the cache: they are scratch, and no larger than a block. Vectors run over squares.

Source: Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.epilogue import Epilogue
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.math import hold
from edgesparse.backends.cpu.kernels.tiles import split_of
from edgesparse.backends.cpu.kernels.vectors import keep_first, pick, store_first
from edgesparse.forms.winograd import PRODUCTS, Squares
from edgesparse.graph.geometry import Window
from edgesparse.numerics import Numerics


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, weight, bias[, residual]; writes: y.

    Shapes: x [batch, channels, height, width]; weight [panels, 16, channels, rows]; bias [M]; residual and y [batch, M,
        out_height, out_width]. A tile is a block of rows of squares and a range of M.
    Over-read: x and residual, below 64 bytes. Order: ascending channel for each of the 16 products.
    """
    plane, window, numerics = call.layer.plane, call.layer.window, call.layer.numerics
    tile, epilogue, target = call.tile, call.epilogue, call.target
    assert window is not None
    shape = _Shape(window, Squares(plane, tile.vectors, target.cpu.lanes(numerics.x)), plane.m, tile.rows, numerics)
    squares, panels = shape.squares, -(-plane.m // tile.rows)
    share = -(-panels // tile.splits)
    tiles, y_size = plane.batch * squares.blocks * tile.splits, plane.batch * plane.m * plane.n
    params = [Param(plane.batch * window.channels * window.height * window.width, numerics.x)]
    params += [Param(panels * PRODUCTS * window.channels * tile.rows, numerics.w), Param(plane.m, numerics.acc)]
    params += [Param(y_size, numerics.y)] * (2 if epilogue.residual else 1)

    def body(number: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *residual, y, area = rest
        memory = _Memory(x, w, bias, residual[0] if residual else None, y, area)
        split, index = split_of(number, tiles, tile.splits)
        block, image = T.bind(T.floormod(index, squares.blocks)), T.bind(T.floordiv(index, squares.blocks))
        first = T.bind(split * share)
        last = T.bind(T.min(first + share, panels))

        def emit(rows: int) -> None:
            _Block(shape, rows, epilogue, memory, image, T.bind(block * squares.rows)).emit(first, last)

        if squares.last_rows == squares.rows:
            emit(squares.rows)
            return
        with T.If(block == squares.blocks - 1):
            with T.Then():
                emit(squares.last_rows)
            with T.Else():
                emit(squares.rows)

    reads = len(params) - 1
    inplace = ((reads - 1, reads),) if epilogue.residual else ()
    symbol = kernel_symbol("winograd", numerics, f"{plane.name}_{tile.name}", target, window, plane, epilogue)
    scratch = Param(shape.scratch_size, numerics.acc)
    return build_kernel(symbol, params, tiles, body, scratch=scratch, inplace=inplace)


@dataclass(frozen=True)
class _Shape:
    """Sizes of the scratch areas, in elements: V, then P of one panel, then the input rows of one channel."""

    window: Window
    squares: Squares
    m: int
    panel_rows: int
    numerics: Numerics

    @property
    def v_stride(self) -> int:
        """Elements between the products of V: not a multiple of what makes cache lines compete for one place."""
        return self.window.channels * self.squares.pitch + self.squares.lanes

    @property
    def v_size(self) -> int:
        """V [16, channels, pitch]."""
        return PRODUCTS * self.v_stride

    @property
    def p_size(self) -> int:
        """P [panel rows, 16, pitch]."""
        return self.panel_rows * PRODUCTS * self.squares.pitch

    @property
    def line(self) -> int:
        """An input row, transformed along itself: 4 values for each square, [4, vectors of a row]."""
        return 4 * len(self.squares.starts) * self.squares.step

    @property
    def scratch_size(self) -> int:
        """All of them."""
        return self.v_size + self.p_size + (2 * self.squares.rows + 2) * self.line


@dataclass(frozen=True, eq=False)
class _Memory:
    x: Buffer
    w: Buffer
    bias: Buffer
    residual: Buffer | None
    y: Buffer
    area: Buffer


@dataclass(frozen=True, eq=False)
class _Block:
    """Emits one block of `rows` rows of squares, the first of which is `first_row` of the image."""

    shape: _Shape
    rows: int
    epilogue: Epilogue
    memory: _Memory
    image: Expr
    first_row: Expr

    @property
    def _squares(self) -> Squares:
        return self.shape.squares

    @property
    def _step(self) -> Lanes:
        """The vector along a row of squares."""
        return Lanes(self._squares.step, self.shape.numerics.x)

    def emit(self, first: Expr, last: Expr) -> None:
        """V, then the panels [first, last)."""
        with T.serial(0, self.shape.window.channels) as channel:
            self._transform_lines(channel)
            self._transform_input(channel)
        with T.serial(first, last) as panel:
            with T.serial(0, PRODUCTS) as product:
                self._multiply(panel, product)
            channel = T.bind(panel * self.shape.panel_rows)
            count = T.bind(T.min(self.shape.m - channel, self.shape.panel_rows))
            with T.serial(0, count) as row, T.serial(0, self.rows) as square_row:
                self._transform_output(channel + row, row, square_row)

    @property
    def _lines(self) -> int:
        """Where the input rows of one channel begin, transformed along themselves."""
        return self.shape.v_size + self.shape.p_size

    def _transform_lines(self, channel: Expr) -> None:
        """d B for each input row of a channel. All columns come from x: reading stored ones shifted would stall."""
        window, step = self.shape.window, self._step
        plane = T.bind((self.image * window.channels + channel) * (window.height * window.width))
        with T.serial(0, 2 * self.rows + 2) as number:
            row = T.bind(self.first_row * 2 + number - window.pads[0])
            goal = T.bind(self._lines + number * self.shape.line)
            with T.If(T.And(row >= 0, row < window.height)):
                with T.Then():
                    source = T.bind(plane + row * window.width)
                    for start in self._squares.starts:
                        first = 2 * start - window.pads[1]
                        pairs = [
                            [self._run(source, first + 2 * i + half * step.count) for half in (0, 1)] for i in (0, 1)
                        ]
                        inputs = [pick(pair, range(odd, 2 * step.count, 2)) for pair in pairs for odd in (0, 1)]
                        for i, value in enumerate(_input_side(inputs)):
                            step.store(self.memory.area, goal + (i * (self.shape.line // 4) + start), value)
                with T.Else():
                    for start in range(0, self.shape.line, step.count):
                        step.store(self.memory.area, goal + start, step.splat(0.0))

    def _run(self, source: Expr, column: int) -> Expr:
        """Neighbouring inputs of a row from a column on, zeros beside the image."""
        lanes, width = self._step, self.shape.window.width
        zero = lanes.splat(0.0)
        if not -lanes.count < column < width:
            return hold(zero)
        inside = keep_first(hold(lanes.load(self.memory.x, source + max(column, 0))), width - max(column, 0), 0.0)
        if column >= 0:
            return inside
        return pick([hold(zero), inside], range(lanes.count + column, 2 * lanes.count + column))

    def _transform_input(self, channel: Expr) -> None:
        """V = B^T (d B) of a channel: what a vector stores past its row, the next one overwrites."""
        area, step, pitch = self.memory.area, self._step, self._squares.pitch
        end, vector = self._vectors()[-1]
        if end + vector.count > self.rows * self._squares.width:  # leave no lane to chance: denormals are slow
            for product in range(PRODUCTS):
                goal = product * self.shape.v_stride + channel * pitch + end
                vector.store(area, goal, vector.splat(0.0))
        with T.serial(0, self.rows) as square_row:
            for start in self._squares.starts:
                source = T.bind(self._lines + square_row * (2 * self.shape.line) + start)
                goal = T.bind(channel * pitch + square_row * self._squares.width + start)
                for j in range(4):
                    places = [source + i * self.shape.line + j * (self.shape.line // 4) for i in range(4)]
                    column = _input_side([hold(step.load(area, place)) for place in places])
                    for i, value in enumerate(column):
                        step.store(area, goal + (4 * i + j) * self.shape.v_stride, value)

    def _vectors(self) -> list[tuple[int, Lanes]]:
        """Element offsets of the vectors of a block; the last is as narrow as it can be."""
        whole, size = Lanes(self._squares.lanes, self.shape.numerics.x), self.rows * self._squares.width
        full = size // whole.count * whole.count
        vectors = [(u, whole) for u in range(0, full, whole.count)]
        return [*vectors, (full, whole.narrowed(size - full))] if size > full else vectors

    def _multiply(self, panel: Expr, product: Expr) -> None:
        """P of one of the 16 products: a panel of U times V, in chunks that fit the registers."""
        vectors, most = self._vectors(), self._squares.vectors
        for first in range(0, len(vectors), most):
            self._multiply_chunk(panel, product, vectors[first : first + most])

    def _multiply_chunk(self, panel: Expr, product: Expr, vectors: Sequence[tuple[int, Lanes]]) -> None:
        area, channels, height = self.memory.area, self.shape.window.channels, self.shape.panel_rows
        base = vectors[0][0]
        size = vectors[-1][0] - base + self._squares.lanes
        accs = [self._step.sums(size) for _ in range(height)]
        for acc in accs:
            for u, lanes in vectors:
                lanes.store(acc, u - base, lanes.splat(0.0))
        weights = T.bind((panel * PRODUCTS + product) * (channels * height))
        source = T.bind(product * self.shape.v_stride)
        with T.serial(0, channels) as channel:
            for u, lanes in vectors:
                column = T.bind(lanes.load(area, source + channel * self._squares.pitch + u))
                for r, acc in enumerate(accs):
                    weight = lanes.splat(self.memory.w[weights + channel * height + r])
                    lanes.store(acc, u - base, lanes.load(acc, u - base) + weight * column)
        for r, acc in enumerate(accs):
            goal = T.bind(self.shape.v_size + (r * PRODUCTS + product) * self._squares.pitch)
            for u, lanes in vectors:
                lanes.store(area, goal + u, lanes.load(acc, u - base))

    def _transform_output(self, channel: Expr, row: Expr, square_row: Expr) -> None:
        """y = A^T P A + bias of a row of squares: two rows of an output channel."""
        squares, window, step = self._squares, self.shape.window, self._step
        bias = hold(step.splat(self.memory.bias[channel]))
        line = T.bind((self.first_row + square_row) * 2)
        plane = (self.image * self.shape.m + channel) * (window.out_height * window.out_width)
        goal = T.bind(plane + line * window.out_width)
        for start in squares.starts:
            source = T.bind(self.shape.v_size + row * (PRODUCTS * squares.pitch) + square_row * squares.width + start)
            products = [hold(step.load(self.memory.area, source + i * squares.pitch)) for i in range(PRODUCTS)]
            halves = [_output_side(products[4 * i : 4 * i + 4]) for i in range(4)]
            outputs = [_output_side(column) for column in zip(*halves, strict=True)]
            upper, lower = zip(*outputs, strict=True)
            self._store(upper, bias, goal, start)
            if window.out_height % 2 == 0:
                self._store(lower, bias, goal + window.out_width, start)
            else:
                with T.If(line + 1 < window.out_height), T.Then():
                    self._store(lower, bias, goal + window.out_width, start)

    def _store(self, pair: Sequence[Expr], bias: Expr, line: Expr, start: int) -> None:
        """Store the even and odd columns of a vector of squares side by side, as far as they are outputs."""
        step, residual = self._step, self.memory.residual
        places = [i // 2 + i % 2 * step.count for i in range(2 * step.count)]
        for half in range(2):
            column = 2 * start + half * step.count
            count = min(step.count, self.shape.window.out_width - column)
            if count <= 0:
                continue
            value = hold(pick(pair, places[half * step.count : (half + 1) * step.count]) + bias)
            other = None if residual is None else hold(step.load(residual, line + column))
            store_first(self.memory.y, line + column, hold(self.epilogue.apply(value, other)), count)


def _input_side(d: Sequence[Expr]) -> list[Expr]:
    """B^T d."""
    return [hold(d[0] - d[2]), hold(d[1] + d[2]), hold(d[2] - d[1]), hold(d[1] - d[3])]


def _output_side(p: Sequence[Expr]) -> list[Expr]:
    """A^T p."""
    return [hold(hold(p[0] + p[1]) + p[2]), hold(hold(p[1] - p[2]) - p[3])]
