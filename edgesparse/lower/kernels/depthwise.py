"""Depthwise convolution: each output channel is one input channel under a window of its own."""

from __future__ import annotations

from math import prod

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Window
from edgesparse.lower.kernel import Kernel, Param, build_kernel, kernel_symbol
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.lower.kernels.stencil import Fold, Stencil
from edgesparse.targets import Target


def depthwise(window: Window, multiplier: int, epilogue: Epilogue, target: Target) -> Kernel:
    """Build the kernel. Reads: x, w, bias[, residual]; writes: y.

    Shapes: x [batch, channels, height, width]; w [channels * multiplier, kernel]; bias [channels * multiplier];
        residual and y [batch, channels * multiplier, out_height, out_width]. A tile is a band of a channel.
    Over-read: x and residual, below 64 bytes. Order: bias, then ascending tap.
    """
    channels, taps = window.channels * multiplier, prod(window.kernel)
    stencil = Stencil(window, window.batch * channels, target, exact=epilogue.residual)
    lanes, size = stencil.lanes, window.height * window.width

    def body(tile: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *residual, y = rest

        def fold(image: Expr) -> Fold:
            channel = T.bind(T.floormod(image, channels))
            # Output channel c reads input channel c // multiplier, in every image of the batch alike.
            return Fold(
                x0=T.bind(T.floordiv(image, multiplier) * size),
                start=lambda: lanes.splat(bias[channel]),
                step=lambda acc, tap, value: acc + lanes.splat(w[channel * taps + tap]) * value,
                finish=lambda acc, y0: epilogue.apply(acc, lanes.load(residual[0], y0) if residual else None),
            )

        stencil.emit(tile, x, y, fold)

    params = [Param(window.batch * window.channels * size), Param(channels * taps), Param(channels)]
    y_size = window.batch * channels * window.out_height * window.out_width
    params += [Param(y_size)] * (2 if epilogue.residual else 1)
    symbol = kernel_symbol("depthwise", channels, window, multiplier, epilogue, target.name)
    inplace = ((3, 4),) if epilogue.residual and stencil.stores_once else ()
    return build_kernel(symbol, params, stencil.tiles, body, inplace=inplace)
