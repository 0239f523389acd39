"""Windows that slide over one channel: the loops that depthwise convolution and pooling share.

A band of input rows is copied into scratch, padded, each row split into `stride` column phases. Every tap of
the window is then one unit-stride vector load at a constant offset, without bounds to check. A block of output
rows is computed at once, so that a loaded vector serves every row whose window covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Window
from edgesparse.lower.kernel import Lanes
from edgesparse.lower.kernels.math import hold
from edgesparse.lower.kernels.vectors import each_vector, keep_first, pick, store_first, vector_width
from edgesparse.targets import Target

_UNROLLED = 400  # multiply-adds in a row of code, at most
_WIDEST = 64  # columns of a window
_TILES = 32  # at least so many, for the threads to share, before images are grouped


@dataclass(frozen=True)
class Fold:
    """What a stencil does with one image; the functions emit vector expressions.

    `x0` is the offset of the image in x; `start()` is the first accumulator; `step(accumulator, tap, x)` folds
    in the input at tap number `tap`; `finish(accumulator, offset)` is the value to store at the output offset
    of its first lane.
    """

    x0: Expr
    start: Callable[[], Expr]
    step: Callable[[Expr, Expr | int, Expr], Expr]
    finish: Callable[[Expr, Expr], Expr]


def fits(window: Window) -> bool:
    """Whether the loops for this window are of reasonable size, and there is something to compute."""
    return window.kernel[1] <= _WIDEST and min(window.out_height, window.out_width, window.height, window.width) > 0


@dataclass(frozen=True, eq=False)
class _Band:
    """One band at work: its first output at `y0`, its copy at `place` of scratch."""

    y: Buffer
    y0: Expr
    area: Buffer
    place: Expr | int
    fold: Fold


@dataclass(frozen=True)
class Stencil:
    """Loops of one window over `images` output channels for one target; `fill` is the value of the padding.

    A tile is one band of an image, or a group of small images: their copies are then far enough ahead of their
    first use not to be waited for.

    Over-read: of x, below 128 bytes. Order: rows of the window, then columns.
    """

    window: Window
    images: int
    target: Target
    fill: float = 0.0

    @cached_property
    def lanes(self) -> Lanes:
        """The vector along an output row."""
        return Lanes(vector_width(self.window.out_width, self.target.lanes))

    @property
    def tiles(self) -> int:
        """Units of work."""
        return self.images // self._group * self._bands

    @property
    def stores_once(self) -> bool:
        """No output is stored twice; otherwise the last vector of a row overlaps the one before."""
        return self.window.out_width <= self.lanes.count or self.window.out_width % self.lanes.count == 0

    @property
    def scratch_size(self) -> int:
        """Elements of scratch that a tile needs."""
        return self._group * self._area_size + self.lanes.count

    @cached_property
    def _phases(self) -> list[int]:
        """Column phases that some tap reads."""
        stride, dilation = self.window.strides[1], self.window.dilations[1]
        return sorted({j * dilation % stride for j in range(self.window.kernel[1])})

    def _content(self, phase: int) -> tuple[int, int, int]:
        """First image column of a phase, its place in the row of the phase, and how many columns there are."""
        stride, left = self.window.strides[1], self.window.pads[1]
        first = (phase - left) % stride
        return first, (first + left) // stride, max(-(-(self.window.width - first) // stride), 0)

    @property
    def _vectors(self) -> int:
        """Vectors that hold the columns of any phase."""
        return -(-self.window.width // (self.window.strides[1] * self.lanes.count))

    @cached_property
    def _pitch(self) -> int:
        """Elements of one phase of a row: what the taps reach, and what the copy writes."""
        stride, dilation, lanes = self.window.strides[1], self.window.dilations[1], self.lanes.count
        reach = (self.window.kernel[1] - 1) * dilation // stride + max(self.window.out_width, lanes)
        written = max(self._content(phase)[1] for phase in self._phases) + self._vectors * lanes
        return -(-max(reach, written) // lanes) * lanes

    @property
    def _row_size(self) -> int:
        return len(self._phases) * self._pitch

    def _input_rows(self, rows: int) -> int:
        return (rows - 1) * self.window.strides[0] + (self.window.kernel[0] - 1) * self.window.dilations[0] + 1

    @cached_property
    def _band_rows(self) -> int:
        """Output rows of a band: as many as half of L1 allows, then evened out."""
        height = self.window.out_height
        budget = self.target.l1d_bytes // 2 // (4 * self._row_size)
        rows = min(max(1, (budget - self._input_rows(1)) // self.window.strides[0] + 1), height)
        return -(-height // -(-height // rows))

    @property
    def _bands(self) -> int:
        return -(-self.window.out_height // self._band_rows)

    @property
    def _area_size(self) -> int:
        return self._input_rows(self._band_rows) * self._row_size

    @cached_property
    def _group(self) -> int:
        """Images of a tile."""
        if self._bands > 1:
            return 1
        most = max(1, min(8, self.target.l1d_bytes // 4 // (4 * self._area_size), self.images // _TILES))
        return next(group for group in range(most, 0, -1) if self.images % group == 0)

    @property
    def _most_rows(self) -> int:
        """Accumulators, and the weights of a small window, fit the registers."""
        return max(1, min(7, self.target.registers // 4))

    def _block_rows(self, rows: int) -> int:
        """Output rows computed at once."""
        most = self._most_rows
        even = [r for r in range(most, most // 2, -1) if rows % r == 0]
        return min(even[0] if even else most, rows)

    def emit(self, tile: Expr, x: Buffer, y: Buffer, area: Buffer, fold: Callable[[Expr], Fold]) -> None:
        """Compute one tile; `fold` tells for an image what happens there."""
        if self._group > 1:
            with T.serial(0, self._group) as g:
                self._copy(x, fold(tile * self._group + g).x0, 0, area, T.bind(g * self._area_size))
            with T.serial(0, self._group) as g:
                image = T.bind(tile * self._group + g)
                self._compute(_Band(y, self._start(image, 0), area, T.bind(g * self._area_size), fold(image)), 0)
            return
        image, number = T.bind(T.floordiv(tile, self._bands)), T.bind(T.floormod(tile, self._bands))
        band = _Band(y, self._start(image, number), area, 0, fold(image))
        self._copy(x, band.fold.x0, number, area, 0)
        self._compute(band, number)

    def _start(self, image: Expr, number: Expr | int) -> Expr:
        """Output offset of a band."""
        height, width = self.window.out_height, self.window.out_width
        return T.bind(image * (height * width) + number * (self._band_rows * width))

    def _copy(self, x: Buffer, x0: Expr, band: Expr | int, area: Buffer, place: Expr | int) -> None:
        """Fill scratch at `place` with the padded input rows of a band."""
        window = self.window
        rows, row_size = self._input_rows(self._band_rows), self._row_size
        above, height = window.pads[0], window.height
        if self._bands == 1:
            self._fill(area, place, 0, min(above, rows) * row_size)
            with T.serial(above, min(above + height, rows)) as r:
                self._copy_row(x, T.bind(x0 + (r - above) * window.width), area, T.bind(place + r * row_size))
            self._fill(area, place, (above + height) * row_size, rows * row_size)
            return
        first = T.bind(band * (self._band_rows * window.strides[0]) - above)
        with T.serial(0, rows) as r:
            row = T.bind(first + r)
            with T.If(T.And(row >= 0, row < height)):
                with T.Then():
                    self._copy_row(x, T.bind(x0 + row * window.width), area, T.bind(r * row_size))
                with T.Else():
                    self._fill(area, r * row_size, 0, row_size)

    def _fill(self, area: Buffer, row: Expr | int, begin: int, end: int) -> None:
        """Whole vectors of padding over [begin, end) of a row in scratch; the last may reach behind it."""
        if end > begin:
            fill = self.lanes.splat(self.fill)
            count = -(-(end - begin) // self.lanes.count) * self.lanes.count
            each_vector(count, self.lanes, lambda i, _: self.lanes.store(area, row + i + begin, fill))

    def _copy_row(self, x: Buffer, source: Expr, area: Buffer, row: Expr) -> None:
        """The padding of every phase, then, over what it spilled, the columns of the image."""
        stride, lanes = self.window.strides[1], self.lanes.count
        vectorised = stride <= 2 and lanes > 1
        for number, phase in enumerate(self._phases):
            _, place, count = self._content(phase)
            done = place + (self._vectors * lanes if vectorised else count)
            self._fill(area, row + number * self._pitch, 0, place)
            self._fill(area, row + number * self._pitch, done, self._pitch)
        if vectorised:
            last = (self._vectors - 1) * lanes
            each_vector(last, self.lanes, lambda i, _: self._copy_vector(x, source, area, row, i, None))
            self._copy_vector(x, source, area, row, last, last)
            return
        for number, phase in enumerate(self._phases):
            first, place, count = self._content(phase)
            with T.serial(0, count) as i:
                T.buffer_store(area, x[source + first + i * stride], [row + number * self._pitch + place + i])

    def _copy_vector(self, x: Buffer, source: Expr, area: Buffer, row: Expr, i: Expr | int, done: int | None) -> None:
        """Columns from `i` on of each phase; with `done`, the last ones, padded."""
        stride, lanes = self.window.strides[1], self.lanes
        loaded = [T.bind(lanes.load(x, source + i * stride + u * lanes.count)) for u in range(stride)]
        for number, phase in enumerate(self._phases):
            first, place, count = self._content(phase)
            value = pick(loaded, range(first, stride * lanes.count, stride))
            if done is not None:
                value = keep_first(value, count - done, self.fill)
            lanes.store(area, row + i + (number * self._pitch + place), value)

    def _compute(self, band: _Band, number: Expr | int) -> None:
        """All output rows of a band; the last of an image may have fewer."""
        rows = self._band_rows
        last = self.window.out_height - (self._bands - 1) * rows
        if last == rows:
            self._compute_rows(band, rows)
            return
        with T.If(number == self._bands - 1):
            with T.Then():
                self._compute_rows(band, last)
            with T.Else():
                self._compute_rows(band, rows)

    def _compute_rows(self, band: _Band, rows: int) -> None:
        """Blocks of rows, each in vectors of columns."""
        step = self._block_rows(rows)
        width, lanes = self.window.out_width, self.lanes.count

        def block(row: Expr | int, count: int) -> None:
            if width <= lanes:
                self._block(band, row, 0, count)
                return
            with T.serial(0, -(-width // lanes)) as c:
                column = c * lanes if width % lanes == 0 else T.bind(T.min(c * lanes, width - lanes))
                self._block(band, row, column, count)

        if rows // step > 1:
            with T.serial(0, rows // step) as b:
                block(b * step, step)
        else:
            block(0, step)
        if rows % step:
            block(rows - rows % step, rows % step)

    def _block(self, band: _Band, row: Expr | int, column: Expr | int, count: int) -> None:
        """One vector of columns in `count` output rows."""
        (kh, kw), (sh, _), (dh, _) = self.window.kernel, self.window.strides, self.window.dilations
        lanes, fold, width = self.lanes, band.fold, self.window.out_width
        accs = [T.alloc_buffer((lanes.count,), "float32", scope="global") for _ in range(count)]
        for acc in accs:
            lanes.store(acc, 0, fold.start())
        base = T.bind(band.place + row * (sh * self._row_size) + column)

        def tap_row(source: Expr | int, users: list[tuple[Buffer, Expr | int]]) -> None:
            """Fold one input row into the accumulators of `users`, each with its row of the window."""
            for j in range(kw):
                value = T.bind(lanes.load(band.area, base + source * self._row_size + self._tap(j)))
                for acc, i in users:
                    lanes.store(acc, 0, fold.step(lanes.load(acc, 0), i * kw + j, value))

        if kh * kw * self._most_rows <= _UNROLLED:
            uses: dict[int, list[tuple[Buffer, Expr | int]]] = {}
            for r, acc in enumerate(accs):
                for i in range(kh):
                    uses.setdefault(r * sh + i * dh, []).append((acc, i))
            for source in sorted(uses):
                tap_row(source, uses[source])
        else:
            with T.serial(0, kh) as i:
                for r, acc in enumerate(accs):
                    tap_row(r * sh + i * dh, [(acc, i)])
        places = [T.bind(band.y0 + (row + r) * width + column) for r in range(count)]
        results = [hold(fold.finish(lanes.load(acc, 0), place)) for acc, place in zip(accs, places, strict=True)]
        for place, result in zip(places, results, strict=True):
            store_first(band.y, place, result, min(width, lanes.count))

    def _tap(self, j: int) -> int:
        """Offset of column j of the window in a row of scratch."""
        stride, column = self.window.strides[1], j * self.window.dilations[1]
        return self._phases.index(column % stride) * self._pitch + column // stride
