"""float32 numbers into quads and out of them: how they are stored, channel by channel or token by token."""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.math import hold, int_splat, splat
from edgesparse.backends.cpu.kernels.narrowing import Narrowing, widened
from edgesparse.backends.cpu.kernels.quads_layout import Facts, QuadPlaces, each_position
from edgesparse.backends.cpu.kernels.quotients import quotient
from edgesparse.backends.cpu.kernels.vectors import store_first
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32, I32, QUAD

LARGE_SCALE = 2.0**64


def quantize(facts: Facts, by: Stored, target: Target) -> Kernel:
    """Store float32 numbers in quads. Reads: x; writes: y.

    Shapes: x [batch, channels, n], or [n, channels] with `inner`; y words [batch, quads, n]. A tile is a quad of an
    image. x / scale is that of a division, rounded to nearest even; NaN becomes the lowest number, as on x86 in ONNX
    Runtime, and infinite numbers the last ones. The last channel fills the last quad up.
    Over-read: x, below 64 bytes.
    """
    cpu, lanes = target.cpu, Lanes(target.cpu.lanes(I32), I32)
    narrowing = Narrowing(by.shift, 0, 255, by.is_signed, small=True)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        places = QuadPlaces.of(facts, tile)

        def store(n: Expr | int, part: Lanes, valid: int) -> None:
            numbers = Lanes(part.count, F32)
            values = [_flushed(numbers.load(x, places.at(c, n, clamped=True)), by.scale) for c in range(QUAD)]
            quotients = [quotient(hold(value), by.scale, cpu) for value in values]
            store_first(y, tile * facts.n + n, narrowing.words(quotients, cpu, across=True), valid)

        each_position(facts, lanes, store)

    params = [Param(facts.size, F32), Param(facts.words, I32)]
    symbol = kernel_symbol("quantize", F32, facts.name, target, by)
    return build_kernel(symbol, params, facts.batch * facts.quads, body)


def _flushed(x: Expr, scale: float) -> Expr:
    """Zero in place of numbers that are rounded to it, where their quotients would be denormal and take long: the scale
    of masks with the lowest number of float32."""
    if scale < LARGE_SCALE:
        return x
    nothing = splat(0.0, x)
    return T.Select(math.absolute(x) < splat(scale / 4, x), nothing, x)


def dequantize(facts: Facts, by: Stored, target: Target) -> Kernel:
    """float32 numbers of what is stored in quads. Reads: x; writes: y; shapes as those of `quantize`, exchanged."""
    cpu, lanes = target.cpu, Lanes(target.cpu.lanes(I32), I32)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        places = QuadPlaces.of(facts, tile)

        def store(n: Expr | int, part: Lanes, valid: int) -> None:
            words = hold(part.load(x, tile * facts.n + n))
            for c, above in enumerate(widened(words, cpu, is_signed=by.is_signed, across=True)):
                value = hold(math.to_float(above - int_splat(by.shift, above)) * splat(by.scale, above))
                places.store(y, c, n, value, valid)

        each_position(facts, lanes, store)

    params = [Param(facts.words, I32), Param(facts.size, F32)]
    symbol = kernel_symbol("dequantize", F32, facts.name, target, by)
    return build_kernel(symbol, params, facts.batch * facts.quads, body)
