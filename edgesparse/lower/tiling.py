"""Which values stay in tiles between the layers that write and read them, so that nobody packs them again."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgesparse.lower.nodes import tensor
from edgesparse.lower.planned import Planned
from edgesparse.targets import Target


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
