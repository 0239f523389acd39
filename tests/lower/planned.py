"""Lower models by plans that a test gives, instead of those that the schedule makes."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgesparse.forms.tile import Tile
from edgesparse.graph.ops import graph_of
from edgesparse.lower.walk import Lowered, lower_ops
from edgesparse.plan import LayerPlan
from edgesparse.schedule import arrange
from edgesparse.targets import Target


def lowered_by(
    model: ir.Model, choose: Callable[[str], tuple[str, Tile]], target: Target, *, expose: bool = False, **options: bool
) -> Lowered:
    """The calls of a model whose layers run with the kernel and the tile chosen by their names.

    Args: options: of `arrange`.
    """
    graph = graph_of(model)
    plans = {
        (layer := op.layer).name: LayerPlan(
            layer.name, layer.node.op_type, 0, 0, 0, layer.numerics, layer.density, *choose(layer.name), 1.0, "given"
        )
        for op in graph.weighted
    }
    return lower_ops(arrange(graph, plans, target, **options), target, expose=expose)


def lowered_without_layers(model: ir.Model, target: Target) -> Lowered:
    """The calls of a model no layer of which needs a plan."""
    return lower_ops(arrange(graph_of(model), {}, target), target)
