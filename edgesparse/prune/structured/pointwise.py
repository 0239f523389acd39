"""Operators on which atoms pass as they are: elementwise ones, and those that mix along some axes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import onnx_ir as ir

from edgesparse.prune.structured.flow import Axes, Flow


def elementwise(flow: Flow, node: ir.Node) -> None:
    """Operands that are broadcast together: what meets goes together."""
    rank = len(flow.shape(node.outputs[0]))
    operands = [(at, value, flow.shape(value)) for at, value in enumerate(node.inputs) if value is not None]
    axes: Axes = []
    for axis in range(-rank, 0):
        met = [
            flow.axes(value)[axis]
            for _, value, shape in operands
            if not flow.is_constant(value) and len(shape) >= -axis and shape[axis] > 1
        ]
        joined = met[0] if met else None
        for labels in met[1:]:
            joined = flow.unite(joined, labels, f"{node.op_type} joins it with what stays")
        axes.append(joined)
    for at, value, _ in operands:
        if flow.is_constant(value):
            flow.use_broadcast(node, at, axes)
    flow.put(node.outputs[0], axes)


def alike(flow: Flow, node: ir.Node) -> None:
    """Operators whose further inputs are scalars or settings."""
    flow.put(node.outputs[0], flow.axes(node.inputs[0]))


def quantizing(flow: Flow, node: ir.Node) -> None:
    """QuantizeLinear and DequantizeLinear of an activation: by one scale, channels may change places."""
    if not all(
        value is None or (flow.is_constant(value) and prod(flow.shape(value)) == 1) for value in node.inputs[1:]
    ):
        return flow.decline(node)
    axes = flow.axes(node.inputs[0])
    for labels in axes:
        flow.keep_size(labels, f"{node.op_type} reads it")
    flow.put(node.outputs[0], axes)
    return None


def mixing(flow: Flow, node: ir.Node, mixed: Iterable[int]) -> None:
    """An operator that keeps the shape and mixes along the axes `mixed`, whatever the order there."""
    axes = flow.axes(node.inputs[0])
    for axis in mixed:
        flow.keep_size(axes[axis], f"{node.op_type} mixes along it")
    flow.put(node.outputs[0], axes)


def softmax(flow: Flow, node: ir.Node) -> None:
    """Softmax and its kin; before opset 13 they mix all axes from `axis` on."""
    rank = len(flow.shape(node.inputs[0]))
    axis = node.attributes.get_int("axis", -1 if flow.opset >= 13 else 1) % rank
    mixing(flow, node, [axis] if flow.opset >= 13 else range(axis, rank))


def layer_norm(flow: Flow, node: ir.Node) -> None:
    """LayerNormalization and RMSNormalization: all axes from `axis` on, and constants along those."""
    axes = flow.axes(node.inputs[0])
    if not all(value is None or flow.is_constant(value) for value in node.inputs[1:]):
        return flow.decline(node)
    mixing(flow, node, range(node.attributes.get_int("axis", -1) % len(axes), len(axes)))
    for at in range(1, len(node.inputs)):
        if node.inputs[at] is not None:
            flow.use_broadcast(node, at, axes)
    return None


def along(default: int) -> Callable[[Flow, ir.Node], None]:
    """Rule of an operator that mixes along its attribute `axis`."""

    def rule(flow: Flow, node: ir.Node) -> None:
        mixing(flow, node, [node.attributes.get_int("axis", default)])

    return rule


def channel_norm(flow: Flow, node: ir.Node) -> None:
    """GroupNormalization and LRN: channels that are next to each other."""
    axes = flow.axes(node.inputs[0])
    flow.freeze(axes[1], f"{node.op_type} mixes along it")
    flow.put(node.outputs[0], [axes[0], None, *axes[2:]])


def pool(flow: Flow, node: ir.Node) -> None:
    """Poolings: spatial axes must stay."""
    axes = flow.axes(node.inputs[0])
    for labels in axes[2:]:
        flow.freeze(labels, f"{node.op_type} mixes along it")
    flow.put(node.outputs[0], [*axes[:2], *[None] * (len(axes) - 2)])


def reduction(flow: Flow, node: ir.Node) -> None:
    """Reductions: the axes that vanish keep their size, and their order where the result is a place."""
    axes = flow.axes(node.inputs[0])
    keep = flow.freeze if node.op_type.startswith("Arg") else flow.keep_size
    if node.op_type.startswith("Arg"):
        reduced = [node.attributes.get_int("axis", 0)]
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        known = flow.known(node.inputs[1])
        if known is None:
            return flow.decline(node)
        reduced = known.astype(int).flatten().tolist()
    else:
        reduced = list(node.attributes.get_ints("axes", ()))
    if not reduced:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            return alike(flow, node)
        reduced = list(range(len(axes)))
    gone = {axis % len(axes) for axis in reduced}
    for axis in gone:
        keep(axes[axis], f"{node.op_type} mixes along it")
        axes[axis] = None
    kept = node.attributes.get_int("keepdims", 1)
    flow.put(node.outputs[0], [labels for axis, labels in enumerate(axes) if kept or axis not in gone])
    return None


RULES: dict[str, Callable[[Flow, ir.Node], None]] = {
    name: rule
    for rule, names in (
        (
            alike,
            "Abs Acos Acosh Asin Asinh Atan Atanh Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp "
            "Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu "
            "Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu",
        ),
        (
            elementwise,
            "Add And BitShift Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu "
            "Pow Sub Sum Where Xor",
        ),
        (quantizing, "QuantizeLinear DequantizeLinear"),
        (pool, "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"),
        (
            reduction,
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare ArgMax ArgMin",
        ),
        (softmax, "Softmax LogSoftmax Hardmax"),
        (layer_norm, "LayerNormalization RMSNormalization"),
        (channel_norm, "GroupNormalization LRN"),
        (along(-1), "LpNormalization"),
    )
    for name in names.split()
}
