"""Max and average pooling with a window."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Window
from edgesparse.lower.kernel import Call, Constant, Kernel, Param, build_kernel, kernel_symbol
from edgesparse.lower.kernels.stencil import Fold, Stencil, fits
from edgesparse.lower.kernels.windows import window_of
from edgesparse.lower.nodes import ints, tensor
from edgesparse.targets import Target


def lower_pool(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower a MaxPool without indices or an AveragePool over one or two spatial axes; None for other nodes."""
    if node.op_type not in ("MaxPool", "AveragePool") or len([y for y in node.outputs if y.name]) > 1:
        return None
    window = window_of(node, ints(node, "kernel_shape"))
    if window is None or not fits(window):
        return None
    reads, writes = (tensor(node.inputs[0]),), (tensor(node.outputs[0]),)
    if node.op_type == "MaxPool":
        return [Call(str(node.name), "MaxPool", max_pool(window, target), reads, writes)]
    scale = _scale(node, window)
    if (scale == scale.flat[0]).all():
        kernel = average_pool(window, target, float(scale.flat[0]))
        return [Call(str(node.name), "AveragePool", kernel, reads, writes)]
    scales = Constant(np.concatenate([scale.ravel(), np.zeros(target.lanes, np.float32)]))
    return [Call(str(node.name), "AveragePool", average_pool(window, target, None), (*reads, scales), writes)]


def max_pool(window: Window, target: Target) -> Kernel:
    """Build max pooling. Reads: x; writes: y. Shapes: [batch, channels, height, width] both.

    Over-read: x, below 128 bytes.
    """
    stencil = Stencil(window, window.batch * window.channels, target, fill=float("-inf"))

    def fold(_: Expr) -> Fold:
        return Fold(
            start=lambda: stencil.lanes.splat(float("-inf")),
            step=lambda acc, _, value: T.max(acc, value),
            finish=lambda acc, _: acc,
        )

    return _build("max_pool", stencil, fold, ())


def average_pool(window: Window, target: Target, scale: float | None) -> Kernel:
    """Build average pooling: sums under the window, times `scale` or, when it is None, times a map of scales.

    Reads: x[, scales]; writes: y. Shapes: x and y as `max_pool`; scales [out_height * out_width + lanes].
    Over-read: x, below 128 bytes. Order: ascending tap.
    """
    stencil = Stencil(window, window.batch * window.channels, target)
    lanes, size = stencil.lanes, window.out_height * window.out_width

    def fold(image: Expr, *scales: Buffer) -> Fold:
        def finish(acc: Expr, y0: Expr) -> Expr:
            return acc * (lanes.load(scales[0], y0 - image * size) if scales else lanes.splat(scale))

        return Fold(start=lambda: lanes.splat(0.0), step=lambda acc, _, value: acc + value, finish=finish)

    return _build("average_pool", stencil, fold, (scale,))


def _build(op: str, stencil: Stencil, fold: object, facts: tuple[object, ...]) -> Kernel:
    window = stencil.window
    x_size, y_size = window.height * window.width, window.out_height * window.out_width
    extra = [Param(y_size + stencil.target.lanes)] if facts == (None,) else []

    def body(tile: Expr, x: Buffer, *rest: Buffer) -> None:
        *scales, y, area = rest
        stencil.emit(tile, x, lambda image: T.bind(image * x_size), y, lambda image: fold(image, *scales), area)

    params = [Param(stencil.images * x_size), *extra, Param(stencil.images * y_size)]
    symbol = kernel_symbol(op, window.channels, *window.kernel, window, *facts, stencil.target.name)
    return build_kernel(symbol, params, stencil.tiles, body, scratch=Param(stencil.scratch_size))


def _scale(node: ir.Node, window: Window) -> np.ndarray:
    """1 / the elements that count in each window: those of the image, or of the padded image."""
    pads = ints(node, "pads", (0,) * (2 * (len(node.inputs[0].shape) - 2)))
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
    return (1.0 / np.maximum(np.outer(*counts), 1)).astype(np.float32)
