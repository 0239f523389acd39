"""Plain copies of any type, off the hot path: constants that are model outputs, transpositions, tiles to rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.devices.targets import Target
from edgesparse.graph.layout import Tiles
from edgesparse.numerics import Element, element
from edgesparse.program import Constant


def copy_constant(written: Tensor, array: np.ndarray, target: Target) -> Call:
    """A call that writes `array` to `written`, any dtype."""

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        with T.serial(0, written.size) as i:
            T.buffer_store(y, x[i], [i])

    of = element("uint8") if written.element.name == "bool" else written.element
    symbol = kernel_symbol("copy", of, f"n{written.size}", target)
    kernel = build_kernel(symbol, [Param(written.size, of)] * 2, 1, body)
    return Call(written.name, "Constant", kernel, (Constant(array),), (written,))


def untile(stored: Tensor, layout: Tiles, written: Tensor, target: Target) -> Call:
    """A call that writes a value which lies in tiles as ONNX lays it out."""
    count, channels, width = stored.shape

    def run(tile: Expr | int, length: int, x: Buffer, y: Buffer) -> None:
        with T.serial(0, channels) as c, T.serial(0, length) as i:
            column = tile * layout.size + i
            goal = column * channels + c if layout.is_linear else c * layout.n + column
            T.buffer_store(y, x[(tile * channels + c) * width + i], [goal])

    def body(_: Expr, x: Buffer, y: Buffer) -> None:
        if count > 1:
            with T.serial(0, count - 1) as tile:
                run(tile, layout.size, x, y)
        run(count - 1, layout.n - (count - 1) * layout.size, x, y)

    symbol = kernel_symbol("untile", stored.element, f"m{channels}n{layout.n}", target, layout, width)
    params = [Param(stored.size, stored.element), Param(written.size, written.element)]
    return Call(f"{written.name}/untile", "Untile", build_kernel(symbol, params, 1, body), (stored,), (written,))


def transpose_copy(shape: Sequence[int], permutation: Sequence[int], of: Element, target: Target) -> Kernel:
    """Transpose elements of any dtype one by one. Reads: x; writes: y.

    Shapes: x `shape`; axis i of y is axis permutation[i] of x. Over-read: none.
    """
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        def loop(depth: int, source: Expr | int, goal: Expr | int) -> None:
            if depth == len(permutation):
                T.buffer_store(y, x[source], [goal])
                return
            size = shape[permutation[depth]]
            with T.serial(0, size) as i:
                loop(depth + 1, source + i * strides[permutation[depth]], goal * size + i)

        loop(0, 0, 0)

    size = prod(shape)
    symbol = kernel_symbol("transpose_copy", of, f"n{size}", target, tuple(shape), tuple(permutation))
    return build_kernel(symbol, [Param(size, of)] * 2, 1, body)
