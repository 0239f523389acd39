"""Lower models by plans that a test gives, instead of those that the schedule makes."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgesparse.backends.cpu.walk import Lowered, lower_ops
from edgesparse.devices.targets import Target
from edgesparse.forms.column import ColumnTile
from edgesparse.forms.sparse_column import SparseColumnTile
from edgesparse.forms.tile import Tile
from edgesparse.graph.layers import Layer
from edgesparse.graph.ops import graph_of
from edgesparse.plan import LayerPlan
from edgesparse.schedule import arrange


def lowered_by(
    model: ir.Model, choose: Callable[[str], Tile], target: Target, *, expose: bool = False, **options: bool
) -> Lowered:
    """The calls of a model whose layers run with the tile chosen by their names, those of a single column in its form.

    Args: options: of `arrange`.
    """
    graph = graph_of(model)
    plans = {
        (layer := op.layer).name: LayerPlan(
            layer.name, layer.node.op_type, 0, 0, 0, layer.numerics, layer.density, _of(layer, choose), 1.0, "given"
        )
        for op in graph.weighted
    }
    return lower_ops(arrange(graph, plans, target.cpu, **options), target, expose=expose)


def _of(layer: Layer, choose: Callable[[str], Tile]) -> Tile:
    tile = choose(layer.name)
    if not layer.is_vector:
        return tile
    return SparseColumnTile(1, layer.plane.k) if tile.is_sparse else ColumnTile(1, layer.plane.k)


def lowered_without_layers(model: ir.Model, target: Target) -> Lowered:
    """The calls of a model no layer of which needs a plan."""
    return lower_ops(arrange(graph_of(model), {}, target.cpu), target)
