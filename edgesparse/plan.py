"""What `schedule` hands to a back end: how every op of the graph is computed, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgesparse.numerics import Numerics

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.forms.tile import Tile
    from edgesparse.graph.layout import Tiles
    from edgesparse.graph.ops import Depthwise, Graph, Op


@dataclass(frozen=True)
class LayerPlan:
    """How one weighted layer is computed, and why.

    `break_even` is the density below which sparse is predicted to win by more than
    the model's error. Times are predicted, from a cost table whose `origin` is "measured" or "estimated"; `sparse_us`
    is that of the best sparse kernel at the layer's density. `saved` is the share of the dense time that it saves, in
    the mean of one thread and all cores: what the choice is made by. `joined` names the depthwise convolution that its
    kernel computes too, which changes its own time to `joined_us`.
    """

    layer: str  # ONNX node name
    op: str
    m: int
    k: int
    n: int
    numerics: Numerics = field(repr=False)
    density: float
    tile: Tile
    break_even: float
    reason: str
    dense_us: float = 0.0
    sparse_us: float = 0.0
    saved: float = 0.0
    origin: str = "estimated"
    joined: str = ""
    joined_us: float = 0.0

    @property
    def types(self) -> str:
        """Its element types in a word, such as f32."""
        return str(self.numerics)

    @property
    def kernel(self) -> str:
        """Whether it skips zeros, "sparse", or not, "dense"."""
        return "sparse" if self.tile.is_sparse else "dense"

    @property
    def form(self) -> str:
        """The name of the kernel's form."""
        return self.tile.form

    @property
    def choice(self) -> str:
        """The kernel and its tile in words."""
        return self.tile.words

    @property
    def predicted_us(self) -> float:
        """The predicted time of the chosen kernel, without a depthwise convolution in it."""
        if self.joined:
            return self.joined_us
        return self.sparse_us if self.tile.is_sparse else self.dense_us

    def told(self) -> tuple[str, str]:
        """Density and break-even as texts that tell which is larger."""
        return apart(self.density, self.break_even)


@dataclass(frozen=True, eq=False)
class Plan:
    """The ops of a graph, and how each of them runs.

    `layers` are the plans of its weighted layers by node name; `joined` the depthwise convolutions that the kernel of a
    layer computes too, by that layer's name; `tiled` the values that only ever lie in tiles; `op_us` the predicted time
    of every op but the weighted layers, on one thread.
    """

    graph: Graph
    layers: Mapping[str, LayerPlan]
    joined: Mapping[str, Depthwise] = field(default_factory=dict)
    tiled: Mapping[ir.Value, Tiles] = field(default_factory=dict)
    op_us: Mapping[Op, float] = field(default_factory=dict)

    @property
    def rest_us(self) -> float:
        """The predicted time of everything but the weighted layers."""
        return sum(self.op_us.values())

    @property
    def predicted_us(self) -> float:
        """The predicted time of an inference."""
        return self.rest_us + sum(plan.predicted_us for plan in self.layers.values())


def apart(density: float, break_even: float) -> tuple[str, str]:
    """Both as texts of as many digits, from three on, as it takes to tell which is larger."""
    digits = 3
    while density != break_even and f"{density:.{digits}f}" == f"{break_even:.{digits}f}" and digits < 17:
        digits += 1
    return f"{density:.{digits}f}", f"{break_even:.{digits}f}"
