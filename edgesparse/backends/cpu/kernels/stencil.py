"""Windows that slide over one channel: the loops that depthwise convolution and pooling share.

A block of output rows by one vector of columns accumulates in registers. Each input row that the block sees is
loaded once for every column of the window and serves all output rows whose window covers it. Vectors at the left
and right edge of the image are known when the kernel is built; there the padding is shuffled in. Rows of padding
are skipped, since they contribute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Lanes, Param
from edgesparse.backends.cpu.kernels.math import hold, lanes_of
from edgesparse.backends.cpu.kernels.vectors import fold_all, keep_first, pick, store_first
from edgesparse.devices.cpu import Cpu
from edgesparse.graph.geometry import Window
from edgesparse.numerics import Element

_UNROLLED = 400  # multiply-adds in a row of code, at most
_TILES = 32  # at least so many, if there are rows enough


@dataclass(frozen=True)
class Fold:
    """What a stencil does with one image; the functions emit vector expressions.

    `x0` is the offset of the image in x; `start(part)` is the first accumulator; `step(accumulator, tap, x, part)`
    folds in the input at tap number `tap`; `finish(accumulators, offset)` is the value to store at the output offset
    of its first lane. Where taps are all alike, `join(x, x)` folds the inputs of a row first, once for all output rows;
    `prepare(row)` makes of them, likewise once, what every one of several accumulators, its `parts`, takes for taps.
    """

    x0: Expr
    start: Callable[[int], Expr]
    step: Callable[[Expr, Expr | int, Expr, int], Expr]
    finish: Callable[[Sequence[Expr], Expr], Expr]
    join: Callable[[Expr, Expr], Expr] | None = None
    prepare: Callable[[Sequence[Expr]], list[list[Expr]]] | None = None
    parts: int = 1

    def taken(self, row: list[Expr]) -> list[list[Expr]]:
        """What each accumulator takes of the inputs that the columns of the window see of a row."""
        if self.prepare is not None:
            return self.prepare(row)
        return [row] if self.join is None else [[fold_all(row, self.join)]]


@dataclass(frozen=True, eq=False)
class _Image:
    """One image at work: x and y, its first output at `y0`."""

    x: Buffer
    y: Buffer
    y0: Expr
    fold: Fold


@dataclass(frozen=True)
class _Rows:
    """A block of output rows: `count` of them from `first`, which lies in [lowest, highest]."""

    first: Expr | int
    count: int
    lowest: int
    highest: int


_User = tuple[list[Buffer], Expr | int]
"""The accumulators of an output row, and the row of the window that it has an input row at."""


@dataclass(frozen=True)
class Stencil:
    """Loops of one window over `images` output channels for one CPU; `fill` is the value beside the image.

    A tile is some blocks of rows of an image. With `exact`, no vector is stored beyond its row; with `pads`, rows of
    padding are folded in as all others.
    Over-read: of x, below 64 bytes. Order: rows of the window, then columns; with `join`, columns pairwise.
    """

    window: Window
    images: int
    element: Element
    cpu: Cpu
    fill: float = 0.0
    exact: bool = False
    pads: bool = False

    @cached_property
    def lanes(self) -> Lanes:
        """The vector along an output row."""
        return Lanes(self.cpu.lanes(self.element), self.element).narrowed(self.window.out_width)

    @property
    def params(self) -> list[Param]:
        """x and y of as many images."""
        window = self.window
        sizes = (window.height * window.width, window.out_height * window.out_width)
        return [Param(self.images * size, self.element) for size in sizes]

    @property
    def tiles(self) -> int:
        """Units of work."""
        return self.images * self._bands

    @property
    def stores_once(self) -> bool:
        """No output is stored twice; otherwise the last vector of a row overlaps the one before."""
        return self.exact and (
            self.window.out_width <= self.lanes.count or self.window.out_width % self.lanes.count == 0
        )

    @property
    def columns(self) -> int:
        """Vectors that are made of a row of x."""
        return self.window.kernel[1]

    @cached_property
    def _block_rows(self) -> int:
        """Output rows computed at once: their accumulators, and the weights of a small window, fit the registers."""
        most, height = max(1, min(7, self.cpu.registers // 4)), self.window.out_height
        even = [rows for rows in range(most, most // 2, -1) if height % rows == 0]
        return min(even[0] if even else most, height)

    @property
    def _blocks(self) -> int:
        return -(-self.window.out_height // self._block_rows)

    @cached_property
    def _band_blocks(self) -> int:
        """Blocks of rows in a tile."""
        bands = min(self._blocks, -(-_TILES // self.images))
        return -(-self._blocks // bands)

    @property
    def _bands(self) -> int:
        return -(-self._blocks // self._band_blocks)

    def emit(self, tile: Expr, x: Buffer, y: Buffer, fold: Callable[[Expr], Fold]) -> None:
        """Compute one tile; `fold` tells for an image what happens there."""
        index = T.bind(T.floordiv(tile, self._bands)) if self._bands > 1 else tile
        image = _Image(x, y, T.bind(index * (self.window.out_height * self.window.out_width)), fold(index))
        first = T.bind(T.floormod(tile, self._bands) * self._band_blocks) if self._bands > 1 else 0
        last = T.bind(T.min(first + self._band_blocks, self._blocks)) if self._bands > 1 else self._blocks
        step, height = self._block_rows, self.window.out_height
        full = height // step  # blocks of `step` rows; one of fewer may follow
        rest = _Rows(full * step, height - full * step, full * step, full * step)
        if self._blocks == 1:
            self._columns(image, _Rows(0, step, 0, 0))
            return
        with T.serial(first, last) as block:
            rows = _Rows(T.bind(block * step), step, 0, (full - 1) * step)
            if not rest.count:
                self._columns(image, rows)
                return
            with T.If(block < full):
                with T.Then():
                    self._columns(image, rows)
                with T.Else():
                    self._columns(image, rest)

    def _columns(self, image: _Image, rows: _Rows) -> None:
        """Every vector of columns of a block of rows; those in the middle alike, in a loop."""
        lanes, width = self.lanes.count, self.window.out_width
        starts = [min(c, max(width - lanes, 0)) for c in range(0, width, lanes)]
        inside = [c for c in starts if not self._at_edge(c) and c % lanes == 0]
        loop = inside if len(inside) > 1 else []
        for c in starts:
            if c not in loop:
                self._block(image, rows, c)
            elif c == loop[0]:
                with T.serial(loop[0] // lanes, loop[-1] // lanes + 1) as number:
                    self._block(image, rows, T.bind(number * lanes))

    def _at_edge(self, column: int) -> bool:
        """Whether some tap of the vector at an output column lies beside the image."""
        window, (_, stride) = self.window, self.window.strides
        first = column * stride - window.pads[1]
        reach = (self.lanes.count - 1) * stride + (window.kernel[1] - 1) * window.dilations[1]
        return first < 0 or first + reach >= window.width

    def _block(self, image: _Image, rows: _Rows, column: Expr | int) -> None:
        """One vector of columns in a block of rows."""
        (kh, kw), (sh, _), (dh, _) = self.window.kernel, self.window.strides, self.window.dilations
        lanes, fold, width = self.lanes, image.fold, self.window.out_width
        accs = [[lanes.sums() for _ in range(fold.parts)] for _ in range(rows.count)]
        for several in accs:
            for part, acc in enumerate(several):
                lanes.store(acc, 0, fold.start(part))

        def fold_in(row: list[Expr], users: list[_User]) -> None:
            for part, taps in enumerate(fold.taken(row)):
                for j, value in enumerate(taps):
                    for several, i in users:
                        acc = several[part]
                        tap = i * len(taps) + j if fold.prepare else i * kw + j
                        lanes.store(acc, 0, fold.step(lanes.load(acc, 0), tap, value, part))

        def tap_row(source: Expr | int, users: list[_User], *, may_pad: bool = False) -> None:
            """Fold one input row into the accumulators of `users`, each with its row of the window."""
            row = T.bind(rows.first * sh + source - self.window.pads[0])
            there = T.bind(T.max(T.min(row, self.window.height - 1), 0)) if may_pad else row
            taps = self._taps(image.x, T.bind(fold.x0 + there * self.window.width), column)
            fold_in([self._unless_padding(row, tap) for tap in taps] if may_pad else taps, users)

        def pad_row(users: list[_User]) -> None:
            fold_in([lanes.splat(self.fill)] * self.columns, users)

        if kh * kw * self._block_rows <= _UNROLLED:
            uses: dict[int, list[_User]] = {}
            for r, acc in enumerate(accs):
                for i in range(kh):
                    uses.setdefault(r * sh + i * dh, []).append((acc, i))
            for source in sorted(uses):
                self._if_inside(rows, source, (source, source), tap_row, pad_row, uses[source])
        else:
            with T.serial(0, kh) as i:
                for r, acc in enumerate(accs):
                    source = T.bind(r * sh + i * dh)
                    reach = (r * sh, r * sh + (kh - 1) * dh)
                    self._if_inside(rows, source, reach, tap_row, pad_row, [(acc, i)])
        places = [T.bind(image.y0 + (rows.first + r) * width + column) for r in range(rows.count)]
        results = [
            hold(fold.finish([lanes.load(acc, 0) for acc in several], place))
            for several, place in zip(accs, places, strict=True)
        ]
        for number, (place, result) in enumerate(zip(places, results, strict=True), start=1):
            # What a narrow row spills, the next one overwrites.
            spills = number < rows.count and not self.exact
            store_first(image.y, place, result, lanes.count if spills else min(width, lanes.count))

    def _unless_padding(self, row: Expr, value: Expr) -> Expr:
        """The value, if the row is one of the image."""
        inside, count = T.And(row >= 0, row < self.window.height), lanes_of(value)
        return hold(T.Select(T.broadcast(inside, count) if count > 1 else inside, value, self.lanes.splat(self.fill)))

    def _if_inside(
        self,
        rows: _Rows,
        source: Expr | int,
        reach: tuple[int, int],
        tap_row: Callable[..., None],
        pad_row: Callable[[list[_User]], None],
        users: list[_User],
    ) -> None:
        """Fold in row `source` behind the first input row of a block, if it is no padding; it lies in `reach`."""
        stride, above, height = self.window.strides[0], self.window.pads[0], self.window.height
        lowest, highest = rows.lowest * stride + reach[0] - above, rows.highest * stride + reach[1] - above
        if highest < 0 or lowest >= height:
            if self.pads:
                pad_row(users)
            return
        if self.pads or (lowest >= 0 and highest < height):
            tap_row(source, users, may_pad=lowest < 0 or highest >= height)
            return
        row = T.bind(rows.first * stride + source - above)
        with T.If(T.And(row >= 0, row < height)), T.Then():
            tap_row(source, users)

    def _taps(self, x: Buffer, start: Expr, column: Expr | int) -> list[Expr]:
        """The vector that each column of the window sees of the input row at `start`.

        `column` is a number for a vector that may be at an edge of the image.
        """
        stride, dilation, left = self.window.strides[1], self.window.dilations[1], self.window.pads[1]
        first, count = column * stride, self.lanes.count
        used = min(self.window.out_width, count)
        reach = (used - 1) * stride + max((self.window.kernel[1] - 1) * dilation - left, stride - 1) + 1
        held: dict[int, Expr] = {}

        def at(q: int) -> Expr:
            """Every stride-th input from `first + q` on."""
            if q not in held:
                held[q] = hold(build(q))
            return held[q]

        def build(q: int) -> Expr:
            if count == 1:
                return self._scalar(x, start, first + q)
            if stride == 1:
                return self._run(x, start, first + q, used)
            if 0 <= q < stride:
                return pick([run(u) for u in range(stride)], range(q, stride * count, stride))
            # Only one lane differs from the vector beside it: cheaper than loads across cache lines.
            if q < 0:
                beside, other = at(q + stride), first + q
                return pick([self.lanes.splat(self._scalar(x, start, other)), beside], range(count - 1, 2 * count - 1))
            beside, other = at(q - stride), first + q + stride * (count - 1)
            return pick([beside, self.lanes.splat(self._scalar(x, start, other))], range(1, count + 1))

        runs: dict[int, Expr] = {}

        def run(number: int) -> Expr:
            if number not in runs:
                runs[number] = hold(self._run(x, start, first + number * count, reach - number * count))
            return runs[number]

        return [at(j * dilation - left) for j in range(self.window.kernel[1])]

    def _scalar(self, x: Buffer, start: Expr, column: Expr | int) -> Expr:
        """One input of a row."""
        if isinstance(column, int) and not 0 <= column < self.window.width:
            return self.lanes.scalar(self.fill)
        return x[start + column]

    def _run(self, x: Buffer, start: Expr, column: Expr | int, needed: int, vector: Lanes | None = None) -> Expr:
        """Neighbouring inputs of a row from a column on; only the first `needed` lanes matter."""
        lanes, width = vector or self.lanes, self.window.width
        if not isinstance(column, int):
            return lanes.load(x, start + column)
        fill = lanes.splat(self.fill)
        if not -lanes.count < column < width or needed <= 0:
            return fill
        inside = hold(lanes.load(x, start + max(column, 0)))
        if column + needed > width:
            inside = keep_first(inside, width - max(column, 0), self.fill)
        if column >= 0:
            return inside
        return pick([fill, inside], range(lanes.count + column, 2 * lanes.count + column))
