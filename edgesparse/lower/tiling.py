"""Which values stay in tiles between the layers that write and read them, so that nobody packs them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.layers import Layer
from edgesparse.lower.fuse import Fusion
from edgesparse.lower.nodes import tensor
from edgesparse.plan import LayerPlan
from edgesparse.targets import Target


@dataclass(frozen=True, eq=False)
class Planned:
    """A weighted layer, its plan, and what it absorbs."""

    layer: Layer
    plan: LayerPlan
    fusion: Fusion

    @property
    def cut(self) -> tuple[int, int, bool] | None:
        """How N is cut into tiles, and which axis it is; None where values of this layer cannot lie in tiles."""
        plane, tile = self.layer.plane, self.plan.tile
        if self.layer.is_vector or tile.square > 1 or tile.columns or plane.batch * plane.groups > 1:
            return None
        return plane.n, tile.vectors, self.layer.is_linear


def tiled_values(planned: Sequence[Planned], target: Target) -> frozenset[ir.Value]:
    """The values that only layers read which cut N as the layer that writes them does, each at its own position.

    A residual is overwritten in place if it lies as the output does. Where it does not, the output is memory that no
    cache holds yet: a layer may have both only if its output fits the L2 cache.
    """
    readers = {node: each for each in planned for node in each.fusion.nodes}
    writers = {each.fusion.output: each for each in planned if each.cut is not None}
    tiled = {value for value in writers if value.uses() and not value.is_graph_output()}

    def stays(value: ir.Value) -> bool:
        return fits_residual(writers[value]) and all(fits(use.node, value) for use in value.uses())

    def fits(node: ir.Node, value: ir.Value) -> bool:
        reader = readers.get(node)
        if reader is None or reader.cut != writers[value].cut:
            return False
        is_x = node is reader.layer.node
        return reader.layer.window is None if is_x else fits_residual(reader)

    def fits_residual(each: Planned) -> bool:
        output, residual = each.fusion.output, each.fusion.residual
        return residual is None or (residual in tiled) == (output in tiled) or _bytes(output) <= target.l2_bytes

    while not all(map(stays, tiled)):
        tiled = {value for value in tiled if stays(value)}
    return frozenset(tiled)


def _bytes(value: ir.Value) -> int:
    return tensor(value).size_bytes
