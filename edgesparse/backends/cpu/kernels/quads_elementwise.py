"""Elementwise functions of quads: of one value by a multiplication, of two by their sum or product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.bytes import Stored, join, split
from edgesparse.backends.cpu.kernels.math import hold, splat
from edgesparse.backends.cpu.kernels.vectors import each_vector, store_first
from edgesparse.backends.cpu.relax.exact import exact
from edgesparse.devices.targets import Target
from edgesparse.numerics import I32

TILE_WORDS = 4096


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
        (value,) = values
        return y.rounded(hold(x.centred(value) * splat(scale, value)), limits.low, limits.high)

    return _over("map", words, [x], function, y, target, (scale, limits))


def combined(words: int, product: bool, a: Stored, b: Stored, y: Stored, limits: Limits, target: Target) -> Kernel:
    """y = clamp(round((a + b) / scale) + zero, limits), or of the product. Reads: a, b; writes: y; words.

    Every step is rounded to float32, as dequantizing, adding and quantizing do. Over-read: a and b, below 64 bytes.
    """

    def function(values: Sequence[Expr]) -> Expr:
        left, right = hold(a.real(values[0])), hold(b.real(values[1]))
        real = hold(exact(left * right)) if product else hold(left + right)
        return y.rounded(hold(real / splat(y.scale, real)), limits.low, limits.high)

    return _over("mul" if product else "add", words, [a, b], function, y, target, (limits,))


def _over(
    op: str,
    words: int,
    operands: Sequence[Stored],
    function: Callable[[Sequence[Expr]], Expr],
    y: Stored,
    target: Target,
    facts: tuple[object, ...],
) -> Kernel:
    lanes = Lanes(target.cpu.lanes(I32), I32)
    tiles = -(-words // TILE_WORDS)

    def body(tile: Expr, *buffers: Buffer) -> None:
        *sources, goal = buffers

        def emit(start: Expr | int, count: int) -> None:
            def vector(offset: Expr | int, valid: int) -> None:
                part = lanes.narrowed(valid)
                parts = [
                    split(hold(part.load(source, start + offset)), flip=by.is_signed)
                    for source, by in zip(sources, operands, strict=True)
                ]
                stored = [function(values) for values in zip(*parts, strict=True)]
                store_first(goal, start + offset, join(stored, flip=y.is_signed), valid)

            each_vector(count, lanes, vector, unroll=1)

        last = words - (tiles - 1) * TILE_WORDS
        if tiles == 1:
            emit(0, last)
            return
        with T.If(tile < tiles - 1):
            with T.Then():
                emit(T.bind(tile * TILE_WORDS), TILE_WORDS)
            with T.Else():
                emit(T.bind(tile * TILE_WORDS), last)

    params = [Param(words, I32)] * (len(operands) + 1)
    symbol = kernel_symbol(f"{op}_quads", I32, f"n{words}", target, tuple(operands), y, *facts)
    return build_kernel(symbol, params, tiles, body)
