"""Depthwise convolution of quads: dot products of four neighbouring columns, channel by channel.

A register of 128 bits takes four neighbouring words of a row of x, transposed so that the bytes of a channel lie side
by side. One dot product multiplies the taps of up to four columns with it, those of an output wherever they lie within
the four: zeros fill the rest up, and four neighbouring outputs share what is loaded. Their sums lie in four vectors, as
`narrowing` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.dots import multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.math import hold, lanes_of
from edgesparse.backends.cpu.kernels.narrowing import LEAST_LANES, aligned, transposed_quads
from edgesparse.backends.cpu.kernels.stencil import Fold, Stencil
from edgesparse.backends.cpu.kernels.vectors import pick
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.numerics import F32, I32, QUAD, Numerics
from edgesparse.program import Constant


@dataclass(frozen=True)
class Columns:
    """How the taps of four neighbouring outputs lie in words of x.

    `bases` are the first columns of four that are loaded, behind the first column of the window of the first output;
    `uses` has for each output those that it takes, by number: each as many. A tap has a place in one of them.
    """

    bases: tuple[int, ...]
    uses: tuple[tuple[int, ...], ...]
    taps: tuple[tuple[tuple[int | None, ...], ...], ...]  # by output, use and place

    @classmethod
    def of(cls, window: Window) -> Columns:
        """Fewest dot products first, then fewest loads."""
        bases: list[int] = []
        uses, taps = [], []
        for output in range(QUAD):
            left = [output * window.strides[1] + j * window.dilations[1] for j in range(window.kernel[1])]
            columns = {column: tap for tap, column in enumerate(left)}
            mine = []
            while left:
                known = [b for b in bases if b <= left[0] < b + QUAD and _fewest(left, b) == _fewest(left, left[0])]
                base = known[-1] if known else left[0]
                if not known:
                    bases.append(base)
                mine.append(bases.index(base))
                left = [column for column in left if column >= base + QUAD]
            uses.append(tuple(mine))
            first = set[int]()
            taps.append(tuple(tuple(_taken(columns, bases[use] + i, first) for i in range(QUAD)) for use in mine))
        return cls(tuple(bases), tuple(uses), tuple(taps))

    def packed(self, taps: np.ndarray) -> np.ndarray:
        """Taps [..., columns] as bytes [4 outputs, uses, ..., 4]."""
        filled = np.concatenate([taps, np.zeros((*taps.shape[:-1], 1), taps.dtype)], axis=-1)
        places = [[[-1 if tap is None else tap for tap in use] for use in output] for output in self.taps]
        found: np.ndarray = np.moveaxis(filled[..., np.array(places)], (-3, -2), (0, 1))
        return found


def _fewest(left: Sequence[int], base: int) -> int:
    """Groups of four columns that ascending columns need, of which the first begins at `base`."""
    count = 0
    while left:
        left, count = [column for column in left if column >= base + QUAD], count + 1
        base = left[0] if left else 0
    return count


def _taken(columns: dict[int, int], column: int, seen: set[int]) -> int | None:
    """The tap at a column, the first time that it is asked for."""
    tap = columns.get(column)
    if tap is None or tap in seen:
        return None
    seen.add(tap)
    return tap


@dataclass(frozen=True)
class _Blocks(Stencil):
    """A stencil whose rows of x are loaded in registers of 128 bits of four neighbours each, `bases` apart."""

    bases: tuple[int, ...] = ()

    @cached_property
    def lanes(self) -> Lanes:
        """At least a register of 128 bits."""
        found = super().lanes
        return Lanes(max(found.count, LEAST_LANES), found.element)

    @property
    def columns(self) -> int:
        """See `Stencil`."""
        return len(self.bases)

    @cached_property
    def _block_rows(self) -> int:
        """Four sums of each output row, and what is multiplied, fit the registers."""
        most, height = max(1, (self.cpu.registers - 4) // 5), self.window.out_height
        return -(-height // -(-height // most))

    def _taps(self, x: Buffer, start: Expr, column: Expr | int) -> list[Expr]:
        """For each base the blocks of four words, transposed; blocks are as far apart as four outputs."""
        stride = self.window.strides[1]
        first = column * stride - self.window.pads[1]
        return [transposed_quads(hold(self._blocks_at(x, start, first + base, stride))) for base in self.bases]

    def _blocks_at(self, x: Buffer, start: Expr, column: Expr | int, stride: int) -> Expr:
        count = self.lanes.count
        if stride == 1:
            return self._run(x, start, column, count)
        if stride == 2:
            halves = [hold(self._run(x, start, column + u * count, count)) for u in range(stride)]
            return pick(halves, [2 * i - i % QUAD for i in range(count)])
        block = Lanes(LEAST_LANES, self.element)
        parts = [
            hold(self._run(x, start, column + i * stride, LEAST_LANES, block)) for i in range(0, count, LEAST_LANES)
        ]
        return pick(parts, range(count))


@dataclass(frozen=True)
class QuadsDepthwise:
    """A depthwise convolution with one output of each channel; `window` counts quads for channels.

    `fill` is the word of padding: the zero point in each byte.
    """

    window: Window
    numerics: Numerics
    epilogue: Requantized
    fill: int
    target: Target

    @property
    def columns(self) -> Columns:
        """How taps lie in words."""
        return Columns.of(self.window)

    @property
    def stencil(self) -> _Blocks:
        """Its loops, over words."""
        images, bases = self.window.batch * self.window.channels, self.columns.bases
        spills = self.window.out_width > 1  # no further than the row behind
        return _Blocks(
            self.window, images, self.numerics.x, self.target.cpu, self.fill, exact=not spills, pads=True, bases=bases
        )

    def pack(self, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> tuple[Constant, ...]:
        """int8 weights [C, 1, rows, columns] as words [quads, outputs, rows, uses, 4]; bias and scales [quads * 4]."""
        rows, columns = self.window.kernel
        missing = self.window.channels * QUAD - len(weight)
        taps = np.pad(weight.reshape(len(weight), rows, columns), ((0, missing), (0, 0), (0, 0)))
        placed = self.columns.packed(taps.reshape(-1, QUAD, rows, columns))  # [outputs, uses, quads, 4, rows, places]
        words = np.ascontiguousarray(placed.transpose(2, 0, 4, 1, 3, 5), np.int8).view("<i4").astype(np.int32)
        filled = [np.pad(numbers, (0, missing)) for numbers in (bias, scale)]
        return Constant(words), Constant(filled[0]), Constant(filled[1])


def quads_depthwise(layer: QuadsDepthwise) -> Kernel:
    """Build the kernel. Reads: x, w, bias, scale; writes: y; as `QuadsDepthwise.pack` has them.

    Shapes: x words [batch, quads, height, width]; y words [batch, quads, out_height, out_width].
    Over-read: x, below 64 bytes. Sums are exact.
    """
    window, stencil, columns = layer.window, layer.stencil, layer.columns
    count, each = stencil.lanes.count, len(columns.uses[0])
    of_output = window.kernel[0] * each

    def quad_of(buffer: Buffer, place: Expr) -> Expr:
        """Four neighbours, in each four lanes."""
        return pick([Lanes(QUAD, I32).load(buffer, place)] * (count // QUAD), range(count))

    def body(tile: Expr, x: Buffer, w: Buffer, bias: Buffer, scale: Buffer, y: Buffer) -> None:
        def fold(image: Expr) -> Fold:
            quad = T.bind(T.floormod(image, window.channels))

            def step(acc: Expr, tap: Expr | int, value: Expr, output: int) -> Expr:
                same = output
                if isinstance(tap, int):  # equal weights of other outputs are loaded already
                    same = next(
                        o for o in range(QUAD) if columns.taps[o][tap % each] == columns.taps[output][tap % each]
                    )
                word = quad_of(w, ((quad * QUAD + same) * of_output + tap) * QUAD)
                return multiply_add(layer.numerics, layer.target.cpu, acc, word, value)

            return Fold(
                x0=T.bind(image * (window.height * window.width)),
                start=lambda _: quad_of(bias, quad * QUAD),
                step=step,
                finish=lambda accs, _: _stored(layer, accs, hold(quad_of(scale, quad * QUAD))),
                prepare=lambda row: [[row[use] for use in uses] for uses in columns.uses],
                parts=QUAD,
            )

        stencil.emit(tile, x, y, fold)

    x_size, y_size = window.height * window.width, window.out_height * window.out_width
    channels = window.channels * QUAD
    params = [Param(stencil.images * x_size, layer.numerics.x), Param(channels * QUAD * of_output, layer.numerics.w)]
    params += [Param(channels, I32), Param(channels, F32), Param(stencil.images * y_size, layer.numerics.y)]
    facts = (window, layer.numerics, layer.epilogue, layer.fill)
    symbol = kernel_symbol("depthwise", layer.numerics, f"quads_{window.name}", layer.target, *facts)
    return build_kernel(symbol, params, stencil.tiles, body)


def _stored(layer: QuadsDepthwise, accs: Sequence[Expr], scale: Expr) -> Expr:
    """Words of the sums of four neighbouring outputs each."""
    reals = [hold(math.to_float(acc) * scale) for acc in accs]
    if aligned(layer.target.cpu, lanes_of(scale)):
        return layer.epilogue.narrowing.words(reals, layer.target.cpu)
    return transposed_quads(layer.epilogue.word([layer.epilogue.apply(acc, scale=scale) for acc in accs]))
