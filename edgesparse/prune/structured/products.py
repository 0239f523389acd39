"""Operators with weights: they end the atoms that they sum over and make new ones."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.flow import Flow, FlowLayer, Keep, name_of


def conv(flow: Flow, node: ir.Node) -> None:
    """Conv and ConvTranspose, grouped and depthwise ones too: whole groups go, or the same channels of each."""
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or not flow.is_constant(weight) or flow.is_constant(data):
        return flow.decline(node)
    shape, groups = flow.shape(weight), node.attributes.get_int("group", 1)
    transposed = node.op_type == "ConvTranspose"
    read, window = flow.axes(data)[1], [None] * (len(shape) - 2)
    made = flow.fresh(shape[1] * groups if transposed else shape[0], node)
    within_read, within_made = _couple(flow, node, groups, read, made)
    labels = [read, within_made, *window] if transposed else [made, within_read, *window]
    use = flow.use(node, 1, labels, "weight")
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        _bias(flow, node, 2, made)
    for labelled in flow.axes(data)[2:]:
        flow.freeze(labelled, f"{node.op_type} slides over it")
    out = node.outputs[0]
    flow.put(out, [flow.axes(data)[0], made, *window])
    places = flow.shape(data) if transposed else flow.shape(out)
    flow.layers.append(FlowLayer(node, use, data, 1, places[0] * prod(places[2:])))
    return None


def _couple(
    flow: Flow, node: ir.Node, groups: int, read: Labels | None, made: Labels | None
) -> tuple[Labels | None, Labels | None]:
    """Couple the channels of a grouped convolution; returns the channels of one group, None where all of them stay."""
    if groups == 1:
        return read, made
    if read is None or made is None:
        reason = f"{name_of(node)} has groups, whose other side stays"
        flow.freeze(read, reason)
        flow.freeze(made, reason)
        return None, None
    ins, outs = read.reshape(groups, -1), made.reshape(groups, -1)
    if groups < ins.shape[1]:  # few wide groups: the same channels of each
        for group in range(groups):
            flow.atoms.unite(ins[0], ins[group])
            flow.atoms.unite(outs[0], outs[group])
        return ins[0], outs[0]
    for column in [*ins.T, *outs.T]:  # whole groups
        flow.atoms.unite(ins[:, 0], column)

    def fix(keep: Keep) -> None:
        node.attributes["group"] = ir.AttrInt64("group", int(keep(ins[:, 0]).sum()))

    flow.fixes.append(fix)
    return None, None


def matmul(flow: Flow, node: ir.Node) -> None:
    """A product with a constant on either side, or of two activations, whose batch axes are heads."""
    left, right = node.inputs
    assert left is not None and right is not None
    ranks = len(flow.shape(left)), len(flow.shape(right))
    if flow.is_constant(right) and ranks[1] == 2:
        axes = flow.axes(left)
        made = flow.fresh(flow.shape(right)[1], node)
        use = flow.use(node, 1, [axes[-1], made], "weight")
        flow.put(node.outputs[0], [*axes[:-1], made])
        flow.layers.append(FlowLayer(node, use, left, ranks[0] - 1, prod(flow.shape(left)[:-1])))
    elif flow.is_constant(left) and ranks[0] == 2 and ranks[1] >= 2:
        axes = flow.axes(right)
        made = flow.fresh(flow.shape(left)[0], node)
        use = flow.use(node, 0, [made, axes[-2]], "weight")
        flow.put(node.outputs[0], [*axes[:-2], made, axes[-1]])
        size = flow.shape(right)
        flow.layers.append(FlowLayer(node, use, right, ranks[1] - 2, prod(size) // size[-2]))
    elif min(ranks) >= 2 and not flow.is_constant(left) and not flow.is_constant(right):
        _product(flow, node, left, right)
    else:
        flow.decline(node)


def _product(flow: Flow, node: ir.Node, left: ir.Value, right: ir.Value) -> None:
    one, other = flow.axes(left), flow.axes(right)
    reason = f"{name_of(node)} multiplies it with what stays"
    flow.unite(one[-1], other[-2], reason)
    batch: list[Labels | None] = []
    rank = len(flow.shape(node.outputs[0]))
    for axis in range(-rank, -2):
        sides = [
            axes[axis]
            for value, axes in ((left, one), (right, other))
            if len(axes) >= -axis and flow.shape(value)[axis] > 1
        ]
        batch.append(flow.unite(sides[0], sides[-1], reason) if sides else None)
        if (labels := batch[-1]) is not None:
            flow.atoms.mark_heads(labels)
    flow.put(node.outputs[0], [*batch, one[-2], other[-1]])


def gemm(flow: Flow, node: ir.Node) -> None:
    """alpha * A @ B + beta * C with a constant B."""
    data, weight = node.inputs[0], node.inputs[1]
    flipped = node.attributes.get_int("transA", 0) == 1
    if data is None or not flow.is_constant(weight) or flow.is_constant(data) or flipped:
        return flow.decline(node)
    rows, read = flow.axes(data)
    transposed = node.attributes.get_int("transB", 0) == 1
    made = flow.fresh(flow.shape(weight)[0 if transposed else 1], node)
    use = flow.use(node, 1, [made, read] if transposed else [read, made], "weight")
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        _bias(flow, node, 2, made)
    flow.put(node.outputs[0], [rows, made])
    flow.layers.append(FlowLayer(node, use, data, 1, flow.shape(data)[0]))
    return None


def _bias(flow: Flow, node: ir.Node, index: int, made: Labels | None) -> None:
    """A bias whose last axis is added to `made`."""
    bias = node.inputs[index]
    shape = flow.shape(bias)
    if not flow.is_constant(bias):
        flow.freeze_value(bias, f"{name_of(node)} adds it")
        flow.freeze(made, f"{name_of(node)} adds a computed bias")
    elif shape and shape[-1] > 1:
        flow.use(node, index, [*[None] * (len(shape) - 1), made])


def norm(flow: Flow, node: ir.Node) -> None:
    """BatchNormalization and InstanceNormalization: constants by channel."""
    axes = flow.axes(node.inputs[0])
    channels = axes[1]
    for index in range(1, len(node.inputs)):
        if flow.is_constant(node.inputs[index]):
            flow.use(node, index, [channels], "scale" if index == 1 else "other")
        else:
            flow.freeze(channels, f"{name_of(node)} has computed parameters")
    flow.put(node.outputs[0], axes)


RULES = {
    "Conv": conv,
    "ConvTranspose": conv,
    "MatMul": matmul,
    "Gemm": gemm,
    "BatchNormalization": norm,
    "InstanceNormalization": norm,
}
