"""Bytes in words: four of them taken apart and put together, and the numbers that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.exact import exact
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.math import hold, int_splat, splat
from edgesparse.graph.quantized import Quantization
from edgesparse.numerics import QUAD


@dataclass(frozen=True)
class Stored:
    """real = scale * (byte - zero), bytes signed or not; kernels count from the lowest byte on."""

    scale: float
    zero: int
    is_signed: bool

    @classmethod
    def by(cls, how: Quantization) -> Stored:
        """That of a tensor."""
        return cls(float(how.scale), int(how.zero), bool(np.iinfo(how.element.numpy).min < 0))

    @property
    def shift(self) -> int:
        """How far the zero point is above the lowest byte."""
        return self.zero + (128 if self.is_signed else 0)

    def real(self, above: Expr) -> Expr:
        """The number that is stored so far above the lowest byte; whatever is added to it, the product is rounded."""
        return exact(self.centred(above) * splat(self.scale, above))

    def centred(self, above: Expr) -> Expr:
        """The same without the scale: a whole float32 number."""
        return hold(math.to_float(above - int_splat(self.shift, above)))

    def rounded(self, scaled: Expr, low: int = 0, high: int = 255) -> Expr:
        """Where a number is stored that was divided by the scale, in [low, high] above the lowest byte."""
        least, most = splat(float(low - self.shift), scaled), splat(float(high - self.shift), scaled)
        inside = hold(T.Select(scaled > least, scaled, least))  # NaN becomes the lowest
        inside = hold(T.Select(inside < most, inside, most))
        return hold(math.nearest(inside) + int_splat(self.shift, scaled))


def word_of(byte: int) -> int:
    """A word with the byte in each of its four, as int32."""
    return int.from_bytes(bytes([byte % 256] * QUAD), "little", signed=True)


SIGNS = word_of(0x80)
"""The highest bit of each byte of a word."""


def flipped(words: Expr, *, flip: bool) -> Expr:
    """Words with the highest bit of every byte flipped, or as they are."""
    return hold(T.bitwise_xor(words, int_splat(SIGNS, words))) if flip else words


def split(words: Expr, *, flip: bool) -> list[Expr]:
    """The four bytes of each word, as int32 in [0, 255]; with `flip` how far signed ones are above the lowest."""
    above = hold(flipped(words, flip=flip))
    byte = int_splat(0xFF, above)
    return [hold(T.bitwise_and(T.shift_right(above, int_splat(8 * place, above)), byte)) for place in range(QUAD)]


def join(values: Sequence[Expr], *, flip: bool = False) -> Expr:
    """Words of up to four numbers in [0, 255] each, the others 0; with `flip` they are stored as signed ones."""
    word = values[0]
    for place, value in enumerate(values[1:], 1):
        word = T.bitwise_or(word, T.shift_left(value, int_splat(8 * place, value)))
    return flipped(hold(word), flip=flip)
