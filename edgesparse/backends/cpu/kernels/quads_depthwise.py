"""Depthwise convolution of quads: dot products of four columns of the window, channel by channel.

The four words that four columns of the window see are transposed, bytes of a channel side by side: once for every
input row, and used by all output rows whose window covers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.dots import multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.math import hold, int_splat
from edgesparse.backends.cpu.kernels.stencil import Fold, Stencil
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.numerics import F32, I32, QUAD, Numerics
from edgesparse.program import Constant


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
    def groups(self) -> int:
        """Words of taps in a row of the window."""
        return -(-self.window.kernel[1] // QUAD)

    @property
    def stencil(self) -> Stencil:
        """Its loops, over words."""
        images = self.window.batch * self.window.channels
        return Stencil(self.window, images, self.numerics.x, self.target.cpu, fill=self.fill, pads=True)

    def pack(self, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> tuple[Constant, ...]:
        """int8 weights [C, 1, rows, columns] as words [quads, 4, rows, groups]; bias and scales [quads * 4]."""
        rows, columns = self.window.kernel
        missing = self.window.channels * QUAD - len(weight)
        taps = weight.reshape(len(weight), rows, columns)
        padded = np.pad(taps, ((0, missing), (0, 0), (0, self.groups * QUAD - columns)))
        words = np.ascontiguousarray(padded, np.int8).view("<i4").astype(np.int32)
        filled = [np.pad(numbers, (0, missing)) for numbers in (bias, scale)]
        return Constant(words), Constant(filled[0]), Constant(filled[1])


def quads_depthwise(layer: QuadsDepthwise) -> Kernel:
    """Build the kernel. Reads: x, w, bias, scale; writes: y; as `QuadsDepthwise.pack` has them.

    Shapes: x words [batch, quads, height, width]; y words [batch, quads, out_height, out_width].
    Over-read: x, below 64 bytes. Sums are exact.
    """
    window, stencil, lanes = layer.window, layer.stencil, layer.stencil.lanes
    each = window.kernel[0] * layer.groups

    def body(tile: Expr, x: Buffer, w: Buffer, bias: Buffer, scale: Buffer, y: Buffer) -> None:
        def fold(image: Expr) -> Fold:
            quad = T.bind(T.floormod(image, window.channels))

            def step(acc: Expr, tap: Expr | int, value: Expr, part: int) -> Expr:
                word = lanes.splat(w[(quad * QUAD + part) * each + tap])
                return multiply_add(layer.numerics, layer.target.cpu, acc, word, value)

            def finish(accs: Sequence[Expr], _: Expr) -> Expr:
                scales = [lanes.splat(scale[quad * QUAD + part]) for part in range(QUAD)]
                return layer.epilogue.word(
                    [layer.epilogue.apply(acc, scale=by) for acc, by in zip(accs, scales, strict=True)]
                )

            return Fold(
                x0=T.bind(image * (window.height * window.width)),
                start=lambda part: lanes.splat(bias[quad * QUAD + part]),
                step=step,
                finish=finish,
                prepare=transposed_bytes,
                parts=QUAD,
            )

        stencil.emit(tile, x, y, fold)

    x_size, y_size = window.height * window.width, window.out_height * window.out_width
    channels = window.channels * QUAD
    params = [Param(stencil.images * x_size, layer.numerics.x), Param(channels * each, layer.numerics.w)]
    params += [Param(channels, I32), Param(channels, F32), Param(stencil.images * y_size, layer.numerics.y)]
    facts = (window, layer.numerics, layer.epilogue, layer.fill)
    symbol = kernel_symbol("depthwise", layer.numerics, f"quads_{window.name}", layer.target, *facts)
    return build_kernel(symbol, params, stencil.tiles, body)


def transposed_bytes(words: Sequence[Expr]) -> list[list[Expr]]:
    """For each byte of a word, vectors of words that hold it of four of the `words` each; of those that lack, zeros."""
    found: list[list[Expr]] = [[] for _ in range(QUAD)]
    for first in range(0, len(words), QUAD):
        even, odd = _interleaved(words[first : first + 2])
        more = [_interleaved(words[first + 2 : first + QUAD])] if len(words) > first + 2 else []
        for start, low, highs in ((0, even, [m[0] for m in more]), (1, odd, [m[1] for m in more])):
            found[start].append(_halves(low, highs, upper=False))
            found[start + 2].append(_halves(low, highs, upper=True))
    return found


def _interleaved(words: Sequence[Expr]) -> tuple[Expr, Expr]:
    """Of one or two words a, b: bytes (a0, b0, a2, b2), and (a1, b1, a3, b3)."""
    even = int_splat(0x00FF00FF, words[0])
    low, high = _and(words[0], even), _and(_right(words[0], 8), even)
    if len(words) == 1:
        return hold(low), hold(high)
    odd = int_splat(-0x00FF0100, words[1])  # 0xFF00FF00
    return hold(T.bitwise_or(low, _left(_and(words[1], even), 8))), hold(T.bitwise_or(high, _and(words[1], odd)))


def _halves(low: Expr, highs: Sequence[Expr], *, upper: bool) -> Expr:
    """The lower or the upper halves of one or two vectors of words, side by side."""
    mine = _right(low, 16) if upper else low
    mine = _and(mine, int_splat(0xFFFF, low))
    if not highs:
        return hold(mine)
    theirs = _and(highs[0], int_splat(-0x10000, low)) if upper else _left(highs[0], 16)
    return hold(T.bitwise_or(mine, theirs))


def _and(a: Expr, b: Expr) -> Expr:
    return T.bitwise_and(a, b)


def _right(a: Expr, bits: int) -> Expr:
    return T.shift_right(a, int_splat(bits, a))


def _left(a: Expr, bits: int) -> Expr:
    return T.shift_left(a, int_splat(bits, a))


def word_of(byte: int) -> int:
    """A word with the byte in each of its four, as int32."""
    return int.from_bytes(bytes([byte % 256] * QUAD), "little", signed=True)
