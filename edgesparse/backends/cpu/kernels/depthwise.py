"""Depthwise convolution: each output channel is one input channel under a window of its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.epilogue import Epilogue
from edgesparse.backends.cpu.kernels.stencil import Fold, Stencil
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.numerics import Numerics


@dataclass(frozen=True)
class DepthwiseKernel:
    """A depthwise convolution with `multiplier` outputs of each input channel."""

    window: Window
    multiplier: int
    numerics: Numerics
    epilogue: Epilogue
    target: Target

    @property
    def channels(self) -> int:
        """Output channels of an image."""
        return self.window.channels * self.multiplier

    @property
    def facts(self) -> tuple[object, ...]:
        """What tells its code from others, for one target."""
        return self.channels, self.window, self.multiplier, self.numerics, self.epilogue

    @property
    def stencil(self) -> Stencil:
        """Its loops."""
        images = self.window.batch * self.channels
        return Stencil(self.window, images, self.numerics.x, self.target.cpu, exact=self.epilogue.residual)

    @property
    def constants(self) -> list[Param]:
        """Its parameters w and bias."""
        weight = Param(self.channels * prod(self.window.kernel), self.numerics.w)
        return [weight, Param(self.channels, self.numerics.acc)]

    @property
    def y_size(self) -> int:
        """Elements of the output."""
        return self.window.batch * self.channels * self.window.out_height * self.window.out_width

    def emit(self, tile: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer, x0: Expr | int = 0) -> None:
        """Compute one tile of the stencil; `rest` is the residual, if there is one, and y.

        Args: x0: where the first image lies in x.
        """
        *residual, y = rest
        stencil, taps, size = self.stencil, prod(self.window.kernel), self.window.height * self.window.width
        lanes = stencil.lanes

        def fold(image: Expr) -> Fold:
            channel = T.bind(T.floormod(image, self.channels))
            # Output channel c reads input channel c // multiplier, in every image of the batch alike.
            return Fold(
                x0=T.bind(x0 + T.floordiv(image, self.multiplier) * size),
                start=lambda _: lanes.splat(bias[channel]),
                step=lambda acc, tap, value, _: acc + lanes.splat(w[channel * taps + tap]) * value,
                finish=lambda accs, y0: self.epilogue.apply(accs[0], lanes.load(residual[0], y0) if residual else None),
            )

        stencil.emit(tile, x, y, fold)


def depthwise(layer: DepthwiseKernel) -> Kernel:
    """Build the kernel. Reads: x, w, bias[, residual]; writes: y.

    Shapes: x [batch, channels, height, width]; w [channels * multiplier, kernel]; bias [channels * multiplier];
        residual and y [batch, channels * multiplier, out_height, out_width]. A tile is a band of a channel.
    Over-read: x and residual, below 64 bytes. Order: bias, then ascending tap.
    """
    window, epilogue, stencil = layer.window, layer.epilogue, layer.stencil
    x_size = window.batch * window.channels * window.height * window.width
    y = Param(layer.y_size, layer.numerics.y)
    params = [Param(x_size, layer.numerics.x), *layer.constants, *[y] * (2 if epilogue.residual else 1)]
    symbol = kernel_symbol("depthwise", layer.numerics, window.name, layer.target, *layer.facts)
    inplace = ((3, 4),) if epilogue.residual and stencil.stores_once else ()
    return build_kernel(symbol, params, stencil.tiles, layer.emit, inplace=inplace)
