"""Max and average pooling, with a window or global."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.operands import operand, output_count
from edgesparse.backends.cpu.kernels.reduce import LOWEST, lower_reduce
from edgesparse.backends.cpu.kernels.stencil import Fold, Stencil
from edgesparse.backends.cpu.kernels.vectors import add, maximum
from edgesparse.backends.cpu.tensors import ints, tensor
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.graph.windows import unrolls, window_of
from edgesparse.numerics import TAKEN, Element
from edgesparse.program import Constant


def lower_pool(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower pooling over one or two spatial axes, with a window or global; None for any other node.

    A MaxPool whose indices are wanted is declined.
    """
    if node.op_type not in ("MaxPool", "AveragePool"):
        return lower_reduce(node, target)
    window = window_of(node, ints(node, "kernel_shape"))
    x = operand(node, 0)
    if window is None or not unrolls(window) or output_count(node) > 1 or x.element not in TAKEN:
        return None
    reads: list[Tensor | Constant] = [x]
    if node.op_type == "MaxPool":
        kernel = max_pool(window, x.element, target)
    else:
        scales = _scales(node, window, x.element)
        uniform = bool((scales == scales.flat[0]).all())
        kernel = average_pool(window, float(scales.flat[0]) if uniform else None, x.element, target)
        if not uniform:
            room = np.zeros(target.cpu.lanes(x.element), scales.dtype)
            reads.append(Constant(np.concatenate([scales.ravel(), room])))
    return [Call(str(node.name), node.op_type, kernel, tuple(reads), (tensor(node.outputs[0]),))]


def max_pool(window: Window, element: Element, target: Target) -> Kernel:
    """Build max pooling. Reads: x; writes: y. Shapes: [batch, channels, height, width] both.

    Over-read: x, below 64 bytes.
    """
    stencil = Stencil(window, window.batch * window.channels, element, target.cpu, fill=LOWEST)
    return largest(stencil, maximum, kernel_symbol("max_pool", element, window.name, target, window))


def largest(stencil: Stencil, larger: Callable[[Expr, Expr], Expr], symbol: str) -> Kernel:
    """Build the largest by `larger` of what windows see, from what is beside the image on; see `max_pool`."""
    lanes, size = stencil.lanes, stencil.window.height * stencil.window.width

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        def fold(image: Expr) -> Fold:
            return Fold(
                x0=T.bind(image * size),
                start=lambda _: lanes.splat(stencil.fill),
                step=lambda acc, _, value, part: larger(acc, value),
                finish=lambda accs, _: accs[0],
                join=larger,
            )

        stencil.emit(tile, x, y, fold)

    return build_kernel(symbol, stencil.params, stencil.tiles, body)


def average_pool(window: Window, scale: float | None, element: Element, target: Target) -> Kernel:
    """Build average pooling: sums under the window, times `scale` or, when it is None, times a map of scales.

    Reads: x[, scales]; writes: y. Shapes: x and y as `max_pool`; scales [out_height * out_width + lanes].
    Over-read: x, below 64 bytes. Order: columns of the window pairwise, then rows.
    """
    stencil = Stencil(window, window.batch * window.channels, element, target.cpu)
    lanes, size, y_size = stencil.lanes, window.height * window.width, window.out_height * window.out_width

    def body(tile: Expr, x: Buffer, *rest: Buffer) -> None:
        *scales, y = rest

        def fold(image: Expr) -> Fold:
            def factor(y0: Expr) -> Expr:
                return lanes.splat(scale) if scale is not None else lanes.load(scales[0], y0 - image * y_size)

            return Fold(
                x0=T.bind(image * size),
                start=lambda _: lanes.splat(0.0),
                step=lambda acc, _, value, part: acc + value,
                finish=lambda accs, y0: accs[0] * factor(y0),
                join=add,
            )

        stencil.emit(tile, x, y, fold)

    params = stencil.params
    if scale is None:
        params.insert(1, Param(y_size + target.cpu.lanes(element), element))
    symbol = kernel_symbol("average_pool", element, window.name, target, window, scale)
    return build_kernel(symbol, params, stencil.tiles, body)


def _scales(node: ir.Node, window: Window, element: Element) -> np.ndarray:
    """1 / the elements that count in each window: those of the image, or of the padded image."""
    pads = ints(node, "pads", (0,) * (2 * (len(operand(node, 0).shape) - 2)))
    after = pads[len(pads) // 2 :]
    after = (0, after[0]) if len(after) == 1 else after
    padded = node.attributes.get("count_include_pad")
    counts = []
    sizes = ((window.height, window.out_height), (window.width, window.out_width))
    for axis, (size, outputs) in enumerate(sizes):
        before = window.pads[axis]
        low, high = (-before, size + after[axis]) if padded is not None and padded.as_int() else (0, size)
        starts = np.arange(outputs)[:, None] * window.strides[axis] - before
        taps = starts + np.arange(window.kernel[axis]) * window.dilations[axis]
        counts.append(((taps >= low) & (taps < high)).sum(axis=1))
    scales: np.ndarray = (1.0 / np.maximum(np.outer(*counts), 1)).astype(element.numpy)
    return scales
