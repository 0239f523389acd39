"""Layer normalisation of features by columns: x [F, N], each column normalised, vector lanes over N.

Source: Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.devices.targets import Target
from edgesparse.numerics import Element

_VECTORS = 4  # registers of columns that a tile normalises side by side


def layer_norm_columns(f: int, n: int, epsilon: float, element: Element, target: Target) -> Kernel:
    """Build the kernel. Reads: x, scale, bias; writes: y.

    Shapes: x and y [F, N]; scale and bias [F]. A tile is a few vectors of columns; the last one overlaps the one
        before where N does not divide, and stores the same values there.
    Over-read: none. Order: mean, then squared deviations, both by ascending row.
    """
    width = target.cpu.lanes(element)
    while width > n:
        width //= 2
    lanes = Lanes(width, element)
    vectors = min(_VECTORS, n // width)
    tile_columns = width * vectors
    starts = range(0, tile_columns, width)

    def body(tile: Expr, x: Buffer, scale: Buffer, bias: Buffer, y: Buffer) -> None:
        column = T.bind(T.min(tile * tile_columns, n - tile_columns))
        mean = lanes.sums(tile_columns)
        spread = lanes.sums(tile_columns)
        for i in starts:
            lanes.store(mean, i, lanes.splat(0.0))
            lanes.store(spread, i, lanes.splat(0.0))
        with T.serial(0, f) as row:
            for i in starts:
                lanes.store(mean, i, lanes.load(mean, i) + lanes.load(x, row * n + column + i))
        for i in starts:
            lanes.store(mean, i, lanes.load(mean, i) * lanes.splat(1.0 / f))
        with T.serial(0, f) as row:
            for i in starts:
                deviation = T.bind(lanes.load(x, row * n + column + i) - lanes.load(mean, i))
                lanes.store(spread, i, lanes.load(spread, i) + deviation * deviation)
        for i in starts:
            variance = lanes.load(spread, i) * lanes.splat(1.0 / f) + lanes.splat(epsilon)
            lanes.store(spread, i, lanes.splat(1.0) / T.sqrt(variance))
        with T.serial(0, f) as row:
            factor, shift = T.bind(lanes.splat(scale[row])), T.bind(lanes.splat(bias[row]))
            for i in starts:
                centred = lanes.load(x, row * n + column + i) - lanes.load(mean, i)
                lanes.store(y, row * n + column + i, centred * lanes.load(spread, i) * factor + shift)

    params = [Param(size, element) for size in (f * n, f, f, f * n)]
    symbol = kernel_symbol("norm_columns", element, f"f{f}n{n}", target, epsilon)
    return build_kernel(symbol, params, -(-n // tile_columns), body)
