"""What happens to accumulated vectors before they are stored: a residual is added, then an activation applied.

Integer sums are scaled before that, or requantized.
"""

from __future__ import annotations

import math as scalar_math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.bytes import join
from edgesparse.backends.cpu.kernels.narrowing import LIMIT, Narrowing
from edgesparse.devices.cpu import Cpu
from edgesparse.graph.absorb import Fusion
from edgesparse.graph.activation import Activation
from edgesparse.graph.quantized import Requantization
from edgesparse.numerics import F16, F32, QUAD

SMALL_SCALE = LIMIT / 2**31
"""Scales up to it, as nearly all are, leave small products of any int32."""


@dataclass(frozen=True)
class Epilogue:
    """activation(accumulator + residual); both parts are optional.

    With `residual`, the kernel has one more argument, shaped like its output, which it reads there.
    """

    activation: Activation | None = None
    residual: bool = False

    is_scaled: ClassVar[bool] = False
    """The kernel reads a float32 scale of each channel behind the bias, and hands it to `apply`."""

    @classmethod
    def of(cls, fusion: Fusion) -> Epilogue:
        """The epilogue of a layer with this fusion."""
        return cls(fusion.activation, fusion.residual is not None)

    def apply(self, accumulator: Expr, residual: Expr | None = None, scale: Expr | None = None) -> Expr:
        """The value to store for an accumulated scalar or vector."""
        value = accumulator
        if residual is not None:
            value = value + math.converted(residual, math.kind_of(value))
        return value if self.activation is None else applied(self.activation, value)


@dataclass(frozen=True)
class Scaled(Epilogue):
    """Of int32 sums: activation(float32(sum) * scale)."""

    is_scaled: ClassVar[bool] = True

    def apply(self, accumulator: Expr, residual: Expr | None = None, scale: Expr | None = None) -> Expr:
        """See `Epilogue`."""
        assert scale is not None
        return super().apply(math.hold(math.to_float(accumulator) * scale), residual)


@dataclass(frozen=True)
class Requantized(Scaled):
    """Of int32 sums: clamp(round(float32(sum) * scale) + zero, low, high), a byte of a quad.

    `lowest` is what such a byte can be. Nothing is added to the product before it is limited, so that it cannot be
    contracted: it rounds alike on all machines. Where products are all `small`, below `narrowing.LIMIT`, fewer steps
    are needed.
    """

    zero: int = 0
    low: int = 0
    high: int = 255
    lowest: int = 0
    small: bool = False

    @classmethod
    def to(cls, stored: Requantization) -> Requantized:
        """The epilogue that stores so."""
        lowest, small = int(np.iinfo(stored.element.numpy).min), bool(stored.scale.max() <= SMALL_SCALE)
        return cls(zero=stored.zero, low=stored.low, high=stored.high, lowest=lowest, small=small)

    @property
    def narrowing(self) -> Narrowing:
        """What is stored of a product."""
        zero, low, high = (limit - self.lowest for limit in (self.zero, self.low, self.high))
        return Narrowing(zero, low, high, self.lowest < 0, self.small)

    def quads(self, sums: Sequence[Expr], scales: Sequence[Expr], cpu: Cpu) -> Expr:
        """Quads of vectors of the sums of up to four neighbouring channels; bytes of others are zero."""
        if len(sums) < QUAD:
            return self.word([self.apply(each, scale=scale) for each, scale in zip(sums, scales, strict=True)])
        reals = [math.hold(math.to_float(each) * scale) for each, scale in zip(sums, scales, strict=True)]
        return self.narrowing.words(reals, cpu, across=True)

    def apply(self, accumulator: Expr, residual: Expr | None = None, scale: Expr | None = None) -> Expr:
        """How far the byte is above the lowest, as int32."""
        real = super().apply(accumulator, residual, scale)
        near = math.nearest(math.clamp(real, float(self.low - self.zero), float(self.high - self.zero)))
        return math.hold(near + math.int_splat(self.zero - self.lowest, near))

    def word(self, values: Sequence[Expr]) -> Expr:
        """Quads of what `apply` returned for up to four neighbouring channels; bytes of others are zero."""
        return self._flipped(join(values), len(values))

    def words(self, value: Expr, channels: int) -> Expr:
        """Quads of what `apply` returned for neighbouring channels in its lanes; bytes from `channels` on are zero."""
        lanes = math.lanes_of(value)
        if channels < lanes:
            inside = T.ramp(T.int32(0), 1, lanes) < math.int_splat(channels, value)
            value = math.hold(T.Select(inside, value, math.int_splat(-self.lowest, value)))
        packed = T.reinterpret(_int32(lanes // QUAD), T.cast(value, f"uint8x{lanes}"))
        return self._flipped(packed, QUAD)

    def _flipped(self, word: Expr, channels: int) -> Expr:
        """Words whose first bytes count from 0, with these counting from the lowest."""
        flip = int.from_bytes(bytes([-self.lowest] * channels), "little")
        signed = flip - (1 << 32) if flip >> 31 else flip
        return math.hold(T.bitwise_xor(word, math.int_splat(signed, word)) if signed else word)


def _int32(lanes: int) -> str:
    return "int32" if lanes == 1 else f"int32x{lanes}"


def applied(activation: Activation, x: Expr) -> Expr:
    """The function of a scalar or vector. NaN stays NaN. All but the simplest are computed in float32."""
    if math.kind_of(x) == F16.name and activation.name not in _SIMPLE:
        return math.hold(math.converted(applied(activation, math.converted(math.hold(x), F32.name)), F16.name))
    return math.hold(_FUNCTIONS[activation.name](math.hold(x), *activation.parameters))


_SIMPLE = ("relu", "clip", "leaky_relu")


def _relu(x: Expr) -> Expr:
    return math.at_least(x, 0.0)


def _clip(x: Expr, low: float, high: float) -> Expr:
    x = x if low == -scalar_math.inf else math.at_least(x, low)
    return x if high == scalar_math.inf else math.at_most(x, high)


def _leaky_relu(x: Expr, slope: float) -> Expr:
    return T.Select(x < math.splat(0.0, x), x * math.splat(slope, x), x)


def _elu(x: Expr, alpha: float, gamma: float) -> Expr:
    negative = math.hold((math.exp(x) - math.splat(1.0, x)) * math.splat(alpha * gamma, x))
    return T.Select(x < math.splat(0.0, x), negative, x if gamma == 1.0 else x * math.splat(gamma, x))


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return math.clamp(x * math.splat(alpha, x) + math.splat(beta, x), 0.0, 1.0)


def _hard_swish(x: Expr) -> Expr:
    return x * _hard_sigmoid(x, 1.0 / 6.0, 0.5)


def _swish(x: Expr, alpha: float) -> Expr:
    return x * math.sigmoid(x if alpha == 1.0 else math.hold(x * math.splat(alpha, x)))


def _gelu(x: Expr) -> Expr:
    half = math.hold(x * math.splat(0.5, x))
    return half + half * math.erf(math.hold(x * math.splat(scalar_math.sqrt(0.5), x)))


def _gelu_tanh(x: Expr) -> Expr:
    """x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 * x**3), as x * sigmoid(2 * u)."""
    scale = 2.0 * scalar_math.sqrt(2.0 / scalar_math.pi)
    inner = math.splat(scale * 0.044715, x) * (x * x) + math.splat(scale, x)
    return x * math.sigmoid(math.hold(x * inner))


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "relu": _relu,
    "clip": _clip,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "sigmoid": math.sigmoid,
    "tanh": math.tanh,
    "swish": _swish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}
