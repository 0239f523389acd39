"""Follow the sizes of axes through the arithmetic of shapes, up to the operators that take a shape."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.constants import set_constant
from edgesparse.prune.structured.flow import Flow, Keep

TAKES_SHAPE = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}
"""Operators that take a shape, and as which input."""


def follow_extents(flow: Flow, node: ir.Node) -> bool:
    """Follow `node` if it passes sizes of axes on. Sizes that it computes with must stay."""
    if node.op_type == "Shape" and not node.domain:
        _shape(flow, node)
        return True
    sources = {at: value for at, value in enumerate(node.inputs) if value is not None and value.name in flow.extents}
    if not sources:
        return False
    passed = _passed(flow, node)
    if passed is not None:
        flow.extents[str(node.outputs[0].name)] = passed
        return True
    for at, value in sources.items():
        if node.domain or TAKES_SHAPE.get(node.op_type) != at:
            flow.freeze_value(value, f"{node.op_type} computes with its size")
    return False


def fit_shape(flow: Flow, node: ir.Node, axes: list[Labels | None]) -> None:
    """Adapt the shape that `node` takes to what stays of the axes it makes."""
    index = TAKES_SHAPE[node.op_type]
    shape = node.inputs[index] if index < len(node.inputs) else None
    if shape is None or not shape.name:
        return
    for labels, extent in zip(axes, flow.extents.get(str(shape.name), [None] * len(axes)), strict=True):
        if labels is None:
            flow.freeze(extent, f"{node.op_type} makes an axis of its size")

    def fix(keep: Keep) -> None:
        sizes = {axis: int(keep(labels).sum()) for axis, labels in enumerate(axes) if labels is not None}
        changed = {axis: size for axis, size in sizes.items() if size != flow.shape(node.outputs[0])[axis]}
        if changed:
            _override(node, index, flow.known(shape), len(axes), changed)

    flow.fixes.append(fix)


def _shape(flow: Flow, node: ir.Node) -> None:
    axes = flow.axes(node.inputs[0])
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(axes))
    taken = axes[start:end]
    if any(labels is not None for labels in taken):
        flow.extents[str(node.outputs[0].name)] = _objects(taken)


def _objects(axes: list[Labels | None]) -> np.ndarray:
    array = np.full(len(axes), None, object)
    for at, labels in enumerate(axes):
        array[at] = labels
    return array


def _passed(flow: Flow, node: ir.Node) -> np.ndarray | None:
    """The labels behind each element of what `node` makes; None where it computes rather than passes on."""
    if node.domain or not all(value is None or value.name in flow.probe.shapes for value in node.inputs):
        return None
    first = node.inputs[0]
    source = flow.extents.get(str(first.name)) if first is not None else None
    shape = flow.shape(node.outputs[0])
    if node.op_type == "Concat":
        parts = [flow.extents.get(str(v.name), np.full(flow.shape(v), None, object)) for v in node.inputs if v]
        return np.concatenate(parts)
    if source is None:
        return None
    if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"):
        return source.reshape(shape)
    if node.op_type == "Gather" and (indices := flow.known(node.inputs[1])) is not None:
        picked = np.full(indices.shape, None, object)
        for at in np.ndindex(indices.shape):
            picked[at] = source[int(indices[at])]
        return picked
    if node.op_type == "Slice" and len(node.inputs) > 2:
        start, end = flow.known(node.inputs[1]), flow.known(node.inputs[2])
        if start is not None and end is not None and len(source[int(start[0]) : int(end[0])]) == shape[0]:
            return source[int(start[0]) : int(end[0])]
    return None


def _override(node: ir.Node, index: int, known: np.ndarray | None, rank: int, sizes: dict[int, int]) -> None:
    """Set some elements of a shape; the others are computed as before."""
    fixed, chosen = np.zeros(rank, np.int64), np.zeros(rank, bool)
    for axis, size in sizes.items():
        fixed[axis], chosen[axis] = size, True
    if known is not None:
        set_constant(node, index, np.where(chosen, fixed, known).astype(known.dtype))
        return
    graph, computed = node.graph, node.inputs[index]
    assert isinstance(graph, ir.Graph) and computed is not None
    where = ir.node("Where", [None, None, computed], name=f"{node.name or node.outputs[0].name}_shape")
    where.outputs[0].name = f"{node.outputs[0].name}_shape"
    where.outputs[0].type, where.outputs[0].shape = ir.TensorType(ir.DataType.INT64), ir.Shape([rank])
    graph.insert_before(node, where)
    set_constant(where, 0, chosen)
    set_constant(where, 1, fixed)
    node.replace_input_with(index, where.outputs[0])
