"""Elementwise functions of quads: of one value by a multiplication, of two by their sum or product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.exact import exact
from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.byte_pairs import BYTES, fused_sum, largest, reciprocal, scaled_product
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.math import hold, splat
from edgesparse.backends.cpu.kernels.narrowing import LIMIT, Narrowing, widened
from edgesparse.backends.cpu.kernels.quotients import fma
from edgesparse.backends.cpu.kernels.vectors import each_vector, store_first
from edgesparse.devices.targets import Target
from edgesparse.numerics import I32

TILE_WORDS = 4096

Function = Callable[[Sequence[Expr]], Expr]
"""The float32 number to round and store of the bytes of each operand, counted from the lowest on, as int32."""


@dataclass(frozen=True)
class Limits:
    """The lowest and the highest of what is stored, above the lowest byte."""

    low: int
    high: int


def mapped(words: int, x: Stored, scale: float, y: Stored, limits: Limits, target: Target) -> Kernel:
    """y = clamp(round((x - zero) * scale) + zero, limits). Reads: x; writes: y; words, in the same layout.

    Over-read: x, below 64 bytes.
    """

    def function(values: Sequence[Expr]) -> Expr:
        return hold(x.centred(values[0]) * splat(scale, values[0]))

    is_small = BYTES.size * abs(scale) < LIMIT
    return _over("map", [words], [x], function, y, limits, target, scale, is_small=is_small)


def combined(
    words: int, product: bool, a: Stored, b: Stored, y: Stored, limits: Limits, target: Target, spread: int = 1
) -> Kernel:
    """y = clamp(round((a + b) / scale) + zero, limits), or of the product. Reads: a, b; writes: y; words.

    As if every step were rounded to float32, as dequantizing, adding and quantizing do. With `spread`, b has one word
    for each so many neighbours of a. Over-read: a and b, below 64 bytes.
    """
    function = _product(a, b, y, limits) if product else _sum(a, b, y, limits)
    sizes = [words, words // spread]
    is_small = largest(a, b, y, is_product=product) < LIMIT
    return _over("mul" if product else "add", sizes, [a, b], function, y, limits, target, is_small=is_small)


def _sum(a: Stored, b: Stored, y: Stored, limits: Limits) -> Function:
    found = fused_sum(a, b, y, limits.low, limits.high)

    def fused(values: Sequence[Expr]) -> Expr:
        assert found is not None
        left, right = (hold(math.to_float(value)) for value in values)
        inner = fma(right, splat(found.second, right), splat(found.start, right))
        return fma(left, splat(found.first, left), inner)

    return _step_by_step(a, b, y, limits, is_product=False) if found is None else fused


def _product(a: Stored, b: Stored, y: Stored, limits: Limits) -> Function:
    found = scaled_product(a, b, y, limits.low, limits.high)

    def scaled(values: Sequence[Expr]) -> Expr:
        assert found is not None
        left, right = a.centred(values[0]), b.centred(values[1])
        return hold(hold(left * right) * splat(found.factor, left))

    return _step_by_step(a, b, y, limits, is_product=True) if found is None else scaled


def _step_by_step(a: Stored, b: Stored, y: Stored, limits: Limits, *, is_product: bool) -> Function:
    """Every step as it is defined, but for the division where a product does as well."""
    factor = reciprocal(a, b, y, limits.low, limits.high, is_product=is_product)

    def function(values: Sequence[Expr]) -> Expr:
        left, right = hold(a.real(values[0])), hold(b.real(values[1]))
        real = hold(exact(left * right)) if is_product else hold(left + right)
        return hold(real / splat(y.scale, real) if factor is None else real * splat(factor, real))

    return function


def _over(
    op: str,
    sizes: Sequence[int],
    operands: Sequence[Stored],
    function: Function,
    y: Stored,
    limits: Limits,
    target: Target,
    *facts: object,
    is_small: bool,
) -> Kernel:
    """Over words of operands of some sizes, of which the last may be spread over neighbours of the first."""
    lanes, words, cpu = Lanes(target.cpu.lanes(I32), I32), sizes[0], target.cpu
    spread = words // sizes[-1]
    of_image = words if spread == 1 else spread
    size = min(of_image, TILE_WORDS)
    tiles = -(-of_image // size)
    narrowing = Narrowing(y.shift, limits.low, limits.high, y.is_signed, is_small)

    def body(tile: Expr, *buffers: Buffer) -> None:
        *sources, goal = buffers
        image, number = T.bind(T.floordiv(tile, tiles)), T.bind(T.floormod(tile, tiles))
        start = T.bind(image * of_image + number * size)

        def bytes_of(place: int, offset: Expr | int, part: Lanes) -> list[Expr]:
            one = place > 0 and spread > 1
            held = part.splat(sources[place][image]) if one else part.load(sources[place], start + offset)
            return widened(hold(held), cpu, is_signed=operands[place].is_signed)

        def vector(offset: Expr | int, valid: int) -> None:
            part = lanes.narrowed(valid)
            parts = zip(*(bytes_of(place, offset, part) for place in range(len(sources))), strict=True)
            stored = narrowing.words([function(values) for values in parts], cpu)
            store_first(goal, start + offset, stored, valid)

        last = of_image - (tiles - 1) * size
        if last == size:
            each_vector(size, lanes, vector, unroll=1)
            return
        with T.If(number < tiles - 1):
            with T.Then():
                each_vector(size, lanes, vector, unroll=1)
            with T.Else():
                each_vector(last, lanes, vector, unroll=1)

    params = [Param(each, I32) for each in (*sizes, words)]
    symbol = kernel_symbol(f"{op}_quads", I32, f"n{words}", target, tuple(sizes), tuple(operands), y, limits, *facts)
    return build_kernel(symbol, params, words // of_image * tiles, body)
