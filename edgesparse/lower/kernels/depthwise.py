"""Depthwise convolution: each output channel is one input channel under a window of its own."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Window
from edgesparse.lower.kernel import Call, Constant, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.lower.kernels.operands import operand
from edgesparse.lower.kernels.stencil import Fold, Stencil, fits
from edgesparse.lower.nodes import constant, tensor
from edgesparse.targets import Target
from edgesparse.windows import window_of


def lower_depthwise(
    node: ir.Node,
    target: Target,
    epilogue: Epilogue | None = None,
    residual: Tensor | None = None,
    output: Tensor | None = None,
) -> list[Call] | None:
    """Lower a Conv whose every group is one input channel; None for any other node.

    Args:
        epilogue: what was fused behind the node; `output` is then the value after it, and `residual` the
            other operand of the addition.
    """
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    if weight is None or weight.dtype != np.float32:
        return None
    window = window_of(node, weight.shape[2:])
    if window is None or weight.shape[1] != 1 or not fits(window):
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        return None
    epilogue = epilogue or Epilogue()
    channels = weight.shape[0]
    reads: list[Tensor | Constant] = [operand(node, 0), Constant(weight)]
    reads.append(Constant(np.zeros(channels, np.float32) if bias is None else bias))
    if residual is not None:
        reads.append(residual)
    kernel = depthwise(window, channels // window.channels, epilogue, target)
    return [Call(str(node.name), "Conv", kernel, tuple(reads), (output or tensor(node.outputs[0]),))]


def depthwise(window: Window, multiplier: int, epilogue: Epilogue, target: Target) -> Kernel:
    """Build the kernel. Reads: x, w, bias[, residual]; writes: y.

    Shapes: x [batch, channels, height, width]; w [channels * multiplier, kernel]; bias [channels * multiplier];
        residual and y [batch, channels * multiplier, out_height, out_width]. A tile is a band of a channel, or some
        small channels.
    Over-read: x, below 128 bytes; residual, below 64 bytes. Order: bias, then ascending tap.
    """
    channels, taps = window.channels * multiplier, prod(window.kernel)
    stencil = Stencil(window, window.batch * channels, target)
    lanes, size = stencil.lanes, window.height * window.width

    def body(tile: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *residual, y, area = rest

        def fold(image: Expr) -> Fold:
            channel = T.bind(T.floormod(image, channels))
            # Output channel c reads input channel c // multiplier, in every image of the batch alike.
            return Fold(
                x0=T.bind(T.floordiv(image, multiplier) * size),
                start=lambda: lanes.splat(bias[channel]),
                step=lambda acc, tap, value: acc + lanes.splat(w[channel * taps + tap]) * value,
                finish=lambda acc, y0: epilogue.apply(acc, lanes.load(residual[0], y0) if residual else None),
            )

        stencil.emit(tile, x, y, area, fold)

    params = [Param(window.batch * window.channels * size), Param(channels * taps), Param(channels)]
    y_size = window.batch * channels * window.out_height * window.out_width
    params += [Param(y_size)] * (2 if epilogue.residual else 1)
    symbol = kernel_symbol("depthwise", channels, window, multiplier, epilogue, target.name)
    inplace = ((3, 4),) if epilogue.residual and stencil.stores_once else ()
    return build_kernel(symbol, params, stencil.tiles, body, scratch=Param(stencil.scratch_size), inplace=inplace)
