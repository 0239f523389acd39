"""What the kernel of a weighted layer is made from, whatever its form; and where the kernel of a form is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from edgesparse.backends.cpu.kernel import Kernel
from edgesparse.backends.cpu.kernels.depthwise import DepthwiseKernel
from edgesparse.backends.cpu.kernels.epilogue import Epilogue
from edgesparse.devices.targets import Target
from edgesparse.forms.tile import Tile
from edgesparse.graph.layers import Layer
from edgesparse.program import Constant


@dataclass(frozen=True)
class Tiled:
    """Which operands lie in tiles."""

    x: bool = False
    residual: bool = False
    y: bool = False


@dataclass(frozen=True, eq=False)
class LayerCall:
    """A layer and how it runs; `weights` are what its tile packed, the bias last.

    `joined` is a depthwise convolution of what the layer computes, in the same kernel.
    """

    layer: Layer
    tile: Tile
    weights: tuple[Constant, ...]
    epilogue: Epilogue
    target: Target
    tiled: Tiled
    joined: DepthwiseKernel | None


def kernel_of(call: LayerCall) -> Kernel:
    """The kernel of the tile's form: `kernel` of the module here that is called as the form is."""
    build: Callable[[LayerCall], Kernel] = import_module(f"edgesparse.backends.cpu.kernels.{call.tile.form}").kernel
    return build(call)
