"""Operators with a lowering of their own, which do not go through TVM's importer."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.backends.cpu.relax.compute import (
    DEFINITIONS,
    EMPTY_REDUCTIONS,
    Lowering,
    lowering,
    max_pool_with_indices,
    pad,
    reduce_nothing,
)
from edgesparse.backends.cpu.relax.ordered import cumulate, scatter_elements, top_k
from edgesparse.backends.cpu.relax.regions import roi_align
from edgesparse.backends.cpu.relax.resize import resize
from edgesparse.backends.cpu.relax.sample import grid_sample
from edgesparse.backends.cpu.tensors import constant, tensor

OWN: dict[str, Lowering] = {
    **{operator: lowering(definition) for operator, definition in DEFINITIONS.items()},
    "CumProd": cumulate,
    "CumSum": cumulate,
    "GridSample": lowering(grid_sample),
    "Resize": lowering(resize),
    "RoiAlign": roi_align,
    "ScatterElements": scatter_elements,
    "TopK": top_k,
}

_PAD = lowering(pad)
_REDUCE_NOTHING = lowering(reduce_nothing)
_MAX_POOL = lowering(max_pool_with_indices)


def own_lowering(node: ir.Node) -> Lowering | None:
    """The lowering of `node` that bypasses the importer, or None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        return _PAD if constant(node.inputs[2]) is None else None
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].name:
        return _MAX_POOL
    if node.op_type in EMPTY_REDUCTIONS and node.inputs[0] is not None and tensor(node.inputs[0]).size == 0:
        return _REDUCE_NOTHING
    return OWN.get(node.op_type)
