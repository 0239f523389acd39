"""Which values stay in tiles between the layers that write and read them, so that nobody packs them again."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx_ir as ir

from edgesparse.devices.cpu import Cpu
from edgesparse.graph.layout import Tiles
from edgesparse.graph.ops import Graph, Weighted
from edgesparse.nodes import dtype_of, shape_of
from edgesparse.numerics import element
from edgesparse.plan import LayerPlan


def tiled_values(graph: Graph, layers: Mapping[str, LayerPlan], cpu: Cpu) -> dict[ir.Value, Tiles]:
    """The values that only layers read which cut N as the layer that writes them does, each at its own position.

    A residual is overwritten in place if it lies as the output does. Where it does not, the output is memory that no
    cache holds yet: a layer may have both only if its output fits the L2 cache.
    """
    cuts = {op: _cut(op, layers[op.layer.name]) for op in graph.weighted}
    readers = {node: op for op in graph.weighted for node in op.nodes}
    writers = {op.output: op for op, cut in cuts.items() if cut is not None}
    tiled = {value for value in writers if value.uses() and not value.is_graph_output()}

    def stays(value: ir.Value) -> bool:
        return fits_residual(writers[value]) and all(fits(use.node, value) for use in value.uses())

    def fits(node: ir.Node, value: ir.Value) -> bool:
        reader = readers.get(node)
        if reader is None or cuts[reader] != cuts[writers[value]]:
            return False
        return reader.layer.window is None if node is reader.layer.node else fits_residual(reader)

    def fits_residual(op: Weighted) -> bool:
        output, residual = op.output, op.fusion.residual
        return residual is None or (residual in tiled) == (output in tiled) or bytes_of(output) <= cpu.l2_bytes

    while not all(map(stays, tiled)):
        tiled = {value for value in tiled if stays(value)}
    return {value: _layout(writers[value], layers, cpu) for value in tiled}


def _cut(op: Weighted, plan: LayerPlan) -> tuple[int, int, bool] | None:
    """How N is cut, and which axis it is."""
    cut = plan.tile.cut(op.layer)
    return None if cut is None else (*cut, op.layer.is_linear)


def _layout(op: Weighted, layers: Mapping[str, LayerPlan], cpu: Cpu) -> Tiles:
    plan = layers[op.layer.name]
    return Tiles(op.layer.plane.n, plan.tile.vectors * cpu.lanes(plan.numerics.x), op.layer.is_linear)


def bytes_of(value: ir.Value) -> int:
    """Bytes of a value."""
    return prod(shape_of(value)) * element(dtype_of(value)).size_bytes
