"""What the walk over the graph finds before it emits a call: layers with their plans, and what they absorb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.geometry import Window
from edgesparse.layers import Layer
from edgesparse.lower.fuse import Fusion
from edgesparse.lower.kernel import Constant
from edgesparse.nodes import constant
from edgesparse.plan import LayerPlan


@dataclass(frozen=True, eq=False)
class Convolved:
    """A depthwise convolution and what it absorbs."""

    window: Window
    fusion: Fusion

    @property
    def multiplier(self) -> int:
        """Outputs of each input channel."""
        return len(self.fusion.bias) // self.window.channels

    @property
    def constants(self) -> tuple[Constant, Constant]:
        """Weight and bias."""
        weight = constant(self.fusion.nodes[0].inputs[1])
        assert weight is not None
        return Constant(weight), Constant(self.fusion.bias)


@dataclass(frozen=True, eq=False)
class Planned:
    """A weighted layer, its plan, and what it absorbs; `joined` is a depthwise convolution in the same kernel."""

    layer: Layer
    plan: LayerPlan
    fusion: Fusion
    joined: Convolved | None = None

    @property
    def cut(self) -> tuple[int, int, bool] | None:
        """How N is cut into tiles, and which axis it is; None where values of this layer cannot lie in tiles."""
        plane, tile = self.layer.plane, self.plan.tile
        if self.layer.is_vector or tile.square > 1 or tile.columns or plane.batch * plane.groups > 1:
            return None
        return plane.n, tile.vectors, self.layer.is_linear

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """All nodes that its kernel computes."""
        return self.fusion.nodes + (self.joined.fusion.nodes if self.joined else ())

    @property
    def output(self) -> ir.Value:
        """What its kernel writes."""
        return self.joined.fusion.output if self.joined else self.fusion.output

    @property
    def op(self) -> str:
        """What is computed, such as "Conv+Relu+Conv"."""
        return "+".join(node.op_type for node in self.nodes)
