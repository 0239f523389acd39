"""Permutation of axes.

Axes of length 1 go, axes that stay neighbours merge. If the last axis stays last, whole rows are copied;
otherwise the last axes of input and output span squares that are transposed in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.math import hold
from edgesparse.backends.cpu.kernels.vectors import (
    chunk_bounds,
    chunk_count,
    each_step,
    each_vector,
    store_first,
    transposed,
)
from edgesparse.devices.targets import Target
from edgesparse.numerics import Element

_TILE_ELEMENTS = 4096  # at least about


@dataclass(frozen=True)
class Axis:
    """One merged axis; strides are elements."""

    count: int
    x_stride: int
    y_stride: int


def merged_axes(shape: Sequence[int], permutation: Sequence[int]) -> list[Axis]:
    """The axes in output order; at least one."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axes: list[Axis] = []
    place = prod(shape)
    for axis in permutation:
        count = shape[axis]
        place //= count
        if count == 1:
            continue
        if axes and axes[-1].x_stride == count * strides[axis]:
            count *= axes.pop().count
        axes.append(Axis(count, strides[axis], place))
    return axes or [Axis(1, 1, 1)]


def transpose(shape: Sequence[int], permutation: Sequence[int], element: Element, target: Target) -> Kernel:
    """Build the kernel. Reads: x; writes: y, whose axis i is axis permutation[i] of x.

    Over-read: x, below 64 bytes.
    """
    axes = merged_axes(shape, permutation)
    *outer, last = axes
    if last.x_stride == 1:
        return _rows(outer, last, element, target)
    along = next(axis for axis in axes if axis.x_stride == 1)
    return _squares([axis for axis in outer if axis != along], along, last, element, target)


def _place(index: Expr, axes: Sequence[Axis]) -> tuple[Expr, Expr]:
    """Offsets in x and y of a position, given its row-major index over `axes`."""
    x0, y0 = T.int32(0), T.int32(0)
    for axis in reversed(axes):
        here = T.bind(T.floormod(index, axis.count)) if axis is not axes[0] else index
        index = T.bind(T.floordiv(index, axis.count))
        x0, y0 = x0 + here * axis.x_stride, y0 + here * axis.y_stride
    return T.bind(x0), T.bind(y0)


def _rows(outer: Sequence[Axis], row: Axis, element: Element, target: Target) -> Kernel:
    """Copy whole rows; the last of the outer axes is a loop inside a tile."""
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(row.count)
    *others, inner = outer or [Axis(1, row.count, row.count)]
    size = prod(axis.count for axis in (*outer, row))
    images = prod(axis.count for axis in others)
    chunks = chunk_count(inner.count, 1, size // images // _TILE_ELEMENTS)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        x0, y0 = _place(T.bind(T.floordiv(tile, chunks)), others)
        begin, end = chunk_bounds(T.bind(T.floormod(tile, chunks)), chunks, inner.count, 1)
        with T.serial(begin, end) as r:
            source, goal = T.bind(x0 + r * inner.x_stride), T.bind(y0 + r * inner.y_stride)
            each_vector(
                row.count, lanes, lambda i, valid: store_first(y, goal + i, hold(lanes.load(x, source + i)), valid)
            )

    symbol = kernel_symbol("transpose", element, f"rows{row.count}", target, row, tuple(outer))
    return build_kernel(symbol, [Param(size, element)] * 2, images * chunks, body)


def _squares(outer: Sequence[Axis], along: Axis, across: Axis, element: Element, target: Target) -> Kernel:
    """Transpose between `along`, contiguous in x, and `across`, contiguous in y.

    Squares at the end of an axis overlap the ones before. The longer axis is cut into tiles and the shorter
    one is the inner loop, so that the lines of either side are still in cache when their rest is used.
    """
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(across.count)
    size = prod(axis.count for axis in (*outer, along, across))
    images = prod(axis.count for axis in outer)
    long, short = (along, across) if along.count > across.count else (across, along)
    chunks = chunk_count(long.count, lanes.count, size // images // _TILE_ELEMENTS)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        x0, y0 = _place(T.bind(T.floordiv(tile, chunks)), outer)
        begin, end = chunk_bounds(T.bind(T.floormod(tile, chunks)), chunks, long.count, lanes.count)

        def square(i: Expr | int, j: Expr | int) -> None:
            source = T.bind(x0 + i * long.x_stride + j * short.x_stride)
            goal = T.bind(y0 + i * long.y_stride + j * short.y_stride)
            _square(x, source, y, goal, along, across, lanes)

        each_step(begin, end, lanes.count, lambda i: each_step(0, short.count, lanes.count, lambda j: square(i, j)))

    symbol = kernel_symbol("transpose", element, f"{along.count}x{across.count}", target, along, across, tuple(outer))
    return build_kernel(symbol, [Param(size, element)] * 2, images * chunks, body)


def _square(x: Buffer, source: Expr, y: Buffer, goal: Expr, along: Axis, across: Axis, lanes: Lanes) -> None:
    """Load rows of x, exchange ever larger blocks between pairs of them, store rows of y."""
    count = lanes.count
    given, wanted = min(across.count, count), min(along.count, count)
    rows = [hold(lanes.load(x, source + i * across.x_stride)) for i in range(given)]
    for i, column in enumerate(transposed(rows)[:wanted]):
        store_first(y, goal + i * along.y_stride, column, given)
