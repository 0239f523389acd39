"""Recognise LayerNormalization that exporters wrote out: (x - mean) / sqrt(variance + epsilon) * gain + bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.shapes import static_shape
from edgesparse.graph.provenance import derived


@dataclass(frozen=True)
class _Core:
    """Deviation over standard deviation: `result` normalises `x` over the axes from `axis` on."""

    x: ir.Value
    axis: int
    epsilon: float
    result: ir.Node


def fuse_layer_norms(model: ir.Model) -> None:
    """Write every normalisation over the last axes as one LayerNormalization, in place.

    A gain or bias that is not one number for each normalised element stays a Mul or an Add behind it.
    """
    graph = model.graph
    for node in list(graph):
        core = _core(node) if node.graph is graph and node.op_type in ("Div", "Mul") and not node.domain else None
        if core is not None:
            _fuse(graph, core)


def _fuse(graph: ir.Graph, core: _Core) -> None:
    shape = static_shape(core.x)
    assert shape is not None and core.x.dtype is not None
    normal = shape[core.axis :]
    last, gain, bias = core.result, None, None
    following = _only_reader(last.outputs[0])
    if following is not None and (gain := _factor(following, "Mul", last.outputs[0], shape, normal)) is not None:
        last, following = following, _only_reader(following.outputs[0])
    if following is not None and (bias := _factor(following, "Add", last.outputs[0], shape, normal)) is not None:
        last = following
    result = last.outputs[0]
    dtype = core.x.dtype.numpy()
    operands = [(np.ones(normal, dtype), None) if gain is None else gain, *([] if bias is None else [bias])]
    parameters = [
        add_constant(graph, array, f"{result.name}_{at}", derived("reshaped", source))
        for at, (array, source) in enumerate(operands)
    ]
    attributes = {"axis": core.axis - len(shape), "epsilon": core.epsilon}
    norm = ir.node("LayerNormalization", [core.x, *parameters], attributes, name=last.name)
    made, name = norm.outputs[0], result.name
    made.type, made.shape = result.type, result.shape
    last.append(norm)
    result.replace_all_uses_with(made, replace_graph_outputs=True)
    result.name, made.name = f"{name}_written_out", name
    graph.remove(last, safe=True)  # what it was made of is read by nobody now


def _core(node: ir.Node) -> _Core | None:
    """The normalisation that ends in `node`: d / s, or d * (1 / s)."""
    deviation, deviated = node.inputs
    if node.op_type == "Mul":
        pairs = [(a, _step(b, "Reciprocal")) for a, b in ((deviation, deviated), (deviated, deviation))]
        found = next(((a, step.inputs[0]) for a, step in pairs if step is not None), None)
        if found is None:
            return None
        deviation, deviated = found
    root, centred = _step(deviated, "Sqrt"), _producer(deviation, "Sub")
    shifted = _step(root.inputs[0], "Add") if root is not None else None
    if centred is None or shifted is None or deviation is None:
        return None
    variance, epsilon = shifted.inputs
    number = constant(epsilon)
    squares = _step(variance, "ReduceMean")
    if squares is None or number is None or number.size != 1:
        return None
    return _whole(node, deviation, centred, squares, float(number.item()))


def _whole(node: ir.Node, deviation: ir.Value, centred: ir.Node, squares: ir.Node, epsilon: float) -> _Core | None:
    """The core, if mean and variance are of the same value over the same last axes, and nobody else reads the parts."""
    x, mean = centred.inputs[0], _step(centred.inputs[1], "ReduceMean")
    shape = static_shape(x)
    if mean is None or x is None or shape is None or mean.inputs[0] is not x or x.dtype != ir.DataType.FLOAT:
        return None
    axes = _axes(mean, len(shape))
    square = _square(squares.inputs[0], deviation)
    if axes is None or axes != _axes(squares, len(shape)) or square is None:
        return None
    readers = {use.node for use in deviation.uses()}
    if readers != {node, square} or deviation.is_graph_output():
        return None
    if axes != tuple(range(axes[0], len(shape))) or static_shape(node.outputs[0]) != shape:
        return None
    return _Core(x, axes[0], epsilon, node)


def _square(value: ir.Value | None, deviation: ir.Value) -> ir.Node | None:
    """The node that squares `deviation`, if that is what gives `value`."""
    product, power = _step(value, "Mul"), _step(value, "Pow")
    if product is not None and all(operand is deviation for operand in product.inputs):
        return product
    if power is None or power.inputs[0] is not deviation:
        return None
    exponent = constant(power.inputs[1])
    return power if exponent is not None and exponent.size == 1 and exponent.item() == 2 else None


def _axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes that a ReduceMean keeps as ones, in order; None where it drops them, or names none."""
    if node.attributes.get_int("keepdims", 1) != 1:
        return None
    attribute = node.attributes.get("axes")
    array = np.array(attribute.as_ints()) if attribute is not None else None
    if array is None and len(node.inputs) > 1:
        array = constant(node.inputs[1])
    return tuple(sorted(int(axis) % rank for axis in array)) if array is not None and array.size else None


def _factor(
    node: ir.Node, op: str, value: ir.Value, shape: tuple[int, ...], normal: tuple[int, ...]
) -> tuple[np.ndarray, ir.Value | None] | None:
    """The constant of `node`, and where it is held, if it is an `op` of `value` with one number for each normalised
    element."""
    if node.op_type != op or node.domain or static_shape(node.outputs[0]) != shape:
        return None
    source = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    array = constant(source)
    while array is not None and array.ndim > len(normal) and array.shape[0] == 1:
        array = array[0]
    return None if array is None or array.ndim > len(normal) else (np.broadcast_to(array, normal), source)


def _producer(value: ir.Value | None, op: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op and not node.domain else None


def _step(value: ir.Value | None, op: str) -> ir.Node | None:
    """What makes `value`, if it is an `op` and only one node reads it."""
    node = _producer(value, op)
    if node is None or value is None or value.is_graph_output():
        return None
    return node if len({use.node for use in value.uses()}) == 1 else None


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
