"""Pooling of quads: the largest byte under a window, or the rounded mean."""

from __future__ import annotations

from collections.abc import Sequence

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.bytes import SIGNS, Stored, join, split
from edgesparse.backends.cpu.kernels.math import hold, int_splat, lanes_of
from edgesparse.backends.cpu.kernels.pool import largest
from edgesparse.backends.cpu.kernels.stencil import Fold, Stencil
from edgesparse.backends.cpu.kernels.vectors import add, fold_lanes
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.numerics import I32, QUAD, Element


def quads_max_pool(window: Window, quad: Element, is_signed: bool, target: Target) -> Kernel:
    """Build max pooling of bytes. Reads: x; writes: y. Shapes: words [batch, quads, height, width] both.

    Over-read: x, below 64 bytes.
    """
    lowest = SIGNS if is_signed else 0
    stencil = Stencil(window, window.batch * window.channels, quad, target.cpu, fill=lowest)

    def larger(a: Expr, b: Expr) -> Expr:
        count = lanes_of(a)
        kind = f"{'int8' if is_signed else 'uint8'}x{QUAD * count}"
        most = T.max(T.reinterpret(kind, a), T.reinterpret(kind, b))
        return hold(T.reinterpret("int32" if count == 1 else f"int32x{count}", most))

    symbol = kernel_symbol("max_pool", quad, f"quads_{window.name}", target, window, is_signed)
    return largest(stencil, larger, symbol)


def quads_mean(window: Window, quad: Element, x: Stored, y: Stored, limits: tuple[int, int], target: Target) -> Kernel:
    """Build mean pooling without padding, or global. Reads: x; writes: y. Shapes: as `quads_max_pool`.

    y = clamp(round(float32(sum of x - zero) * scale) + zero), the scale being that of x over that of y and the count.
    Over-read: x, below 64 bytes.
    """
    stencil = Stencil(window, window.batch * window.channels, quad, target.cpu)
    lanes, size = stencil.lanes, window.height * window.width
    count = window.kernel[0] * window.kernel[1]
    scale = x.scale / (y.scale * count)

    def body(tile: Expr, source: Buffer, goal: Buffer) -> None:
        def fold(image: Expr) -> Fold:
            def finish(accs: Sequence[Expr], _: Expr) -> Expr:
                stored = []
                for acc in accs:
                    whole = hold(math.to_float(acc - int_splat(count * x.shift, acc)))
                    stored.append(y.rounded(hold(whole * math.splat(scale, whole)), *limits))
                return join(stored, flip=y.is_signed)

            return Fold(
                x0=T.bind(image * size),
                start=lambda _: lanes.splat(0),
                step=lambda acc, _, value, part: acc + value,
                finish=finish,
                prepare=lambda row: _sums(row, flip=x.is_signed),
                parts=QUAD,
            )

        stencil.emit(tile, source, goal, fold)

    symbol = kernel_symbol("mean", quad, f"quads_{window.name}", target, window, x, y, limits)
    return build_kernel(symbol, stencil.params, stencil.tiles, body)


def _sums(row: Sequence[Expr], *, flip: bool) -> list[list[Expr]]:
    """For each byte of a word the sum over some words."""
    parts = [split(word, flip=flip) for word in row]
    sums = []
    for place in range(QUAD):
        total = parts[0][place]
        for part in parts[1:]:
            total = total + part[place]
        sums.append([hold(total)])
    return sums


def quads_global_mean(images: int, n: int, x: Stored, y: Stored, limits: tuple[int, int], target: Target) -> Kernel:
    """Build the mean over all positions. Reads: x words [images, n]; writes: y words [images]; see `quads_mean`."""
    lanes = target.cpu.lanes(I32)
    scale = x.scale / (y.scale * n)

    def body(tile: Expr, source: Buffer, goal: Buffer) -> None:
        whole = n // lanes
        vector = Lanes(lanes, I32)
        accs = [vector.sums() for _ in range(QUAD)]
        for acc in accs:
            vector.store(acc, 0, vector.splat(0))

        def add_in(words: Expr, into: Sequence[Buffer], width: Lanes) -> None:
            for acc, byte in zip(into, split(words, flip=x.is_signed), strict=True):
                width.store(acc, 0, width.load(acc, 0) + byte)

        if whole:
            with T.serial(0, whole) as number:
                add_in(hold(vector.load(source, tile * n + number * lanes)), accs, vector)
        single = Lanes(1, I32)
        last = [single.sums() for _ in range(QUAD)]
        for acc, one in zip(accs, last, strict=True):
            single.store(one, 0, fold_lanes(hold(vector.load(acc, 0)), add))
        with T.serial(whole * lanes, n) as place:
            add_in(source[tile * n + place], last, single)
        stored = []
        for acc in last:
            centred = hold(math.to_float(single.load(acc, 0) - T.int32(n * x.shift)))
            stored.append(y.rounded(hold(centred * math.splat(scale, centred)), *limits))
        T.buffer_store(goal, join(stored, flip=y.is_signed), [tile])

    symbol = kernel_symbol("global_mean", I32, f"quads_c{images}n{n}", target, x, y, limits)
    return build_kernel(symbol, [Param(images * n, I32), Param(images, I32)], images, body)
