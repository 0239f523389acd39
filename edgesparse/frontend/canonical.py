"""Write what can be said in several ways in one way: Gemm, Sum, norms, reshapes, paddings, order of operands."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.padding import WINDOWED, explicit_window, global_pool
from edgesparse.frontend.quantization import is_stored
from edgesparse.frontend.shapes import static_shape
from edgesparse.graph.provenance import derived
from edgesparse.nodes import padding

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Cast", "Expand")

NORMS = ("LayerNormalization", "RMSNormalization")

JOINING = ("Concat", "Max", "Mean", "Min")
"""Operators of any number of operands."""

MOST_OPERANDS = 32
"""The most operands of an operator: a kernel takes few arguments."""


def canonicalise(model: ir.Model) -> None:
    """Apply every rule of this file to `model`, in place. Shapes must be static where a rule is to fire."""
    for node in list(model.graph):
        if node.domain:
            continue
        if node.op_type == "Gemm":
            _split_gemm(model.graph, node)
        elif node.op_type == "Sum":
            _split_sum(model.graph, node)
        elif node.op_type in JOINING:
            _narrow(model.graph, node)
        elif node.op_type in NORMS:
            _plain_norm(model.graph, node)
        elif node.op_type in RESHAPES:
            _plain_reshape(model.graph, node)
        elif node.op_type == "Pad":
            _plain_pad(model.graph, node)
        elif node.op_type in ("Add", "Mul") and is_stored(node.inputs[0]):
            _swap_operands(node)
        elif node.op_type in WINDOWED:
            explicit_window(node)
            global_pool(node)
        if node.graph is not None and node.op_type == "MatMul":
            _flatten_weight(model.graph, node)
    common.AddDefaultAttributesPass()(model)


def _plain_pad(graph: ir.Graph, node: ir.Node) -> None:
    """Padding that repeats or mirrors the tensor takes no value; where it also crops, a Slice does that first."""
    if node.attributes.get_string("mode", "constant") == "constant":
        return
    if len(node.inputs) > 2:
        node.replace_input_with(2, None)
    x = node.inputs[0]
    assert x is not None
    if (shape := static_shape(x)) is None or (found := padding(node, len(shape))) is None:
        return
    pads, axes = found
    if (pads >= 0).all() or (pads <= 0).all():
        return
    sizes = np.array(shape)
    before, after = np.minimum(pads, 0)
    start, end = -before, sizes[axes] + after
    bounds = [add_constant(graph, np.asarray(each, np.int64), f"{node.name}_crop") for each in (start, end, axes)]
    crop = _step("Slice", [x, *bounds], f"{node.name}_crop", x)
    sizes[axes] = end - start
    crop.outputs[0].shape = ir.Shape(sizes.tolist())
    graph.insert_before(node, crop)
    node.replace_input_with(0, crop.outputs[0])
    node.replace_input_with(1, add_constant(graph, np.maximum(pads, 0).ravel(), f"{node.name}_pads"))


def replace(graph: ir.Graph, node: ir.Node, steps: list[ir.Node]) -> None:
    """Put `steps` where `node` is; the last one's output takes over the name and the readers of `node`'s."""
    old, new = node.outputs[0], steps[-1].outputs[0]
    node.append(steps)
    new.type, new.shape = old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    name, node_name = old.name, node.name
    graph.remove(node, safe=True)
    new.name, steps[-1].name = name, steps[-1].name or node_name


def _step(op: str, inputs: list[ir.Value | None], name: str, like: ir.Value, **attributes: object) -> ir.Node:
    """A node whose output has the dtype of `like`, and its shape where that is not set again."""
    node = ir.node(op, inputs, attributes=attributes, name=name)
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = f"{name}_out", like.type, like.shape
    return node


def _split_gemm(graph: ir.Graph, node: ir.Node) -> None:
    """alpha * A' @ B' + beta * C as MatMul and Add; constants take up the factors and transpositions."""
    a, b = node.inputs[0], node.inputs[1]
    c = node.inputs[2] if len(node.inputs) > 2 else None
    assert a is not None and b is not None
    get = node.attributes
    alpha, beta, out = get.get_float("alpha", 1.0), get.get_float("beta", 1.0), node.outputs[0]
    if out.dtype is not None and out.dtype.is_integer() and not (alpha.is_integer() and beta.is_integer()):
        return
    steps: list[ir.Node] = []
    if get.get_int("transA", 0):
        a = _transposed(graph, a, f"{node.name}_a", steps)
    if get.get_int("transB", 0):
        b = _transposed(graph, b, f"{node.name}_b", steps)
    matmul_scale = alpha
    if alpha != 1.0 and (weight := constant(b)) is not None:
        b = add_constant(graph, (weight * weight.dtype.type(alpha)), f"{b.name}_scaled", derived("scaled", b))
        matmul_scale = 1.0
    steps.append(_step("MatMul", [a, b], node.name or "gemm", out))
    if matmul_scale != 1.0:
        steps.append(_scaled(graph, steps[-1].outputs[0], matmul_scale, f"{node.name}_alpha", out))
    if c is not None and beta != 0.0:
        if beta != 1.0:
            value = constant(c)
            if value is not None:
                c = add_constant(graph, value * value.dtype.type(beta), f"{c.name}_scaled", derived("scaled", c))
            else:
                steps.append(_scaled(graph, c, beta, f"{node.name}_beta", c))
                c = steps[-1].outputs[0]
        product = next(step for step in reversed(steps) if step.outputs[0] is not c).outputs[0]
        steps.append(_step("Add", [product, c], f"{node.name}_bias", out))
    replace(graph, node, steps)


def _transposed(graph: ir.Graph, value: ir.Value, name: str, steps: list[ir.Node]) -> ir.Value:
    array = constant(value)
    if array is not None:
        return add_constant(graph, array.T, f"{value.name}_transposed", derived("transposed", value))
    step = _step("Transpose", [value], f"{name}_transposed", value, perm=[1, 0])
    shape = static_shape(value)
    step.outputs[0].shape = ir.Shape(shape[::-1]) if shape else None
    steps.append(step)
    return step.outputs[0]


def _scaled(graph: ir.Graph, value: ir.Value, factor: float, name: str, like: ir.Value) -> ir.Node:
    assert like.dtype is not None
    operand = add_constant(graph, np.asarray(factor, like.dtype.numpy()), f"{name}_factor")
    return _step("Mul", [value, operand], name, like)


def _split_sum(graph: ir.Graph, node: ir.Node) -> None:
    """Sum of n inputs as n - 1 additions, so that each can join the epilogue of the layer before it."""
    values = [value for value in node.inputs if value is not None]
    if len(values) < 2 or len({static_shape(value) for value in values}) != 1:
        return
    steps: list[ir.Node] = []
    total = values[0]
    for count, value in enumerate(values[1:]):
        name = f"{node.name}_{count}" if count < len(values) - 2 else node.name or "sum"
        steps.append(_step("Add", [total, value], name, node.outputs[0]))
        total = steps[-1].outputs[0]
    replace(graph, node, steps)


def _narrow(graph: ir.Graph, node: ir.Node) -> None:
    """An operator of many operands as a tree of such with few operands each; a mean is a sum, divided."""
    values = [value for value in node.inputs if value is not None]
    if len(values) <= MOST_OPERANDS:
        return
    out, op = node.outputs[0], "Sum" if node.op_type == "Mean" else node.op_type
    attributes = {"axis": node.attributes.get_int("axis", 0)} if op == "Concat" else {}
    steps: list[ir.Node] = []

    def joined(group: list[ir.Value]) -> ir.Value:
        steps.append(_step(op, [*group], f"{node.name}_{len(steps)}", out, **attributes))
        steps[-1].outputs[0].shape = None
        return steps[-1].outputs[0]

    while len(values) > 1:
        values = [joined(values[at : at + MOST_OPERANDS]) for at in range(0, len(values), MOST_OPERANDS)]
    if node.op_type == "Mean":
        steps.append(_scaled(graph, values[0], 1 / len(node.inputs), f"{node.name}_mean", out))
    replace(graph, node, steps)


def _plain_norm(graph: ir.Graph, node: ir.Node) -> None:
    """A norm with one output and a gain for each normalised element; operators of their own do the rest."""
    x = node.inputs[0]
    shape = static_shape(x)
    if x is None or x.dtype is None or shape is None:
        return
    axis = node.attributes.get_int("axis", -1) % max(1, len(shape))
    _write_statistics(graph, node, list(range(axis, len(shape))))
    _split_parameters(graph, node, shape[axis:])


def _split_parameters(graph: ir.Graph, node: ir.Node, normal: tuple[int, ...]) -> None:
    """A gain or bias that is not one number for each normalised element becomes a Mul or an Add behind it."""
    (x, *parameters), out = node.inputs, node.outputs[0]
    if all(static_shape(value) in (normal, None) for value in parameters):
        return
    assert x is not None and x.dtype is not None
    node.resize_inputs(2)
    node.replace_input_with(1, add_constant(graph, np.ones(normal, x.dtype.numpy()), f"{node.name}_ones"))
    steps: list[ir.Node] = []
    for op, value in zip(("Mul", "Add"), parameters, strict=False):
        if value is not None:
            last = steps[-1].outputs[0] if steps else out
            steps.append(_step(op, [last, value], f"{node.name}_{op.lower()}", out))
    last = steps[-1].outputs[0]
    node.append(steps)
    out.replace_all_uses_with(last, replace_graph_outputs=True)
    steps[0].replace_input_with(0, out)
    out.name, last.name = f"{out.name}_normalised", out.name


def _write_statistics(graph: ir.Graph, node: ir.Node, axes: list[int]) -> None:
    """Mean and 1 / deviation, where they are asked for, by operators of their own; in two passes, as the norm."""
    x, asked = node.inputs[0], [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
    if not asked:
        return
    like, steps = asked[0], list[ir.Node]()

    def step(op: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        steps.append(_step(op, [*inputs], f"{node.name}_statistics_{len(steps)}", like, **attributes))
        steps[-1].outputs[0].shape = None
        return steps[-1].outputs[0]

    def held(number: object, dtype: object) -> ir.Value:
        return add_constant(graph, np.array(number, dtype), f"{node.name}_{len(steps)}")  # type: ignore[call-overload]

    assert like.dtype is not None
    over, epsilon = held(axes, np.int64), held(node.attributes.get_float("epsilon", 1e-5), like.dtype.numpy())
    wide = x if x is not None and x.dtype == like.dtype else step("Cast", x, to=int(like.dtype))
    mean = step("ReduceMean", wide, over)
    deviation = step("Sub", wide, mean)
    variance = step("ReduceMean", step("Mul", deviation, deviation), over)
    inverse = step("Reciprocal", step("Sqrt", step("Add", variance, epsilon)))
    node.append(steps)
    for old, new in zip(node.outputs[1:], (mean, inverse), strict=False):
        if old in asked:
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = f"{old.name}_left", old.name
    node.resize_outputs(1)


def _plain_reshape(graph: ir.Graph, node: ir.Node) -> None:
    """Anything that only renames dimensions becomes Reshape to a constant shape; what changes nothing goes."""
    source, target = node.inputs[0], node.outputs[0]
    before, after = static_shape(source), static_shape(target)
    if source is None or before is None or after is None or not _keeps_order(node, before, after):
        return
    if any(value.name and (value.uses() or value.is_graph_output()) for value in node.outputs[1:]):
        return
    producer = source.producer()
    while producer is not None and producer.op_type == "Reshape" and not producer.domain:
        source = producer.inputs[0]
        assert source is not None
        producer = source.producer()
    if static_shape(source) == after and not target.is_graph_output():
        target.replace_all_uses_with(source)
        graph.remove(node, safe=True)
    elif node.op_type == "Identity" and before == after:
        return  # a graph output that copies another value
    else:
        shape = add_constant(graph, np.asarray(after, np.int64), f"{node.name or target.name}_shape")
        attributes = {"allowzero": 1} if 0 in after else {}
        name = node.name or f"{target.name}_reshape"
        replace(graph, node, [_step("Reshape", [source, shape], name, target, **attributes)])


def _keeps_order(node: ir.Node, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    if node.inputs[0].dtype != node.outputs[0].dtype:  # type: ignore[union-attr]
        return False
    match node.op_type:
        case "Transpose":
            perm = node.attributes.get_ints("perm", tuple(reversed(range(len(before)))))
            long = [axis for axis in perm if before[axis] != 1]
            return long == sorted(long)
        case "Expand":
            return prod(before) == prod(after)
        case "Dropout":
            training = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.False_
            return training is not None and not training.any()
        case _:
            return True


def _swap_operands(node: ir.Node) -> None:
    left, right = node.inputs
    if not is_stored(right):
        node.replace_input_with(0, right)
        node.replace_input_with(1, left)


def _flatten_weight(graph: ir.Graph, node: ir.Node) -> None:
    """A constant right operand [1, ..., K, M] becomes [K, M] where the left one has as many dimensions."""
    x, w = node.inputs
    shape, sizes = static_shape(x), static_shape(w)
    if not is_stored(w) or shape is None or sizes is None or len(shape) < len(sizes):
        return
    if len(sizes) <= 2 or prod(sizes[:-2]) != 1:
        return
    assert w is not None
    weight = constant(w)
    if weight is not None:
        matrix = add_constant(graph, weight.reshape(sizes[-2:]), f"{w.name}_matrix", derived("reshaped", w))
    else:  # dequantized: the stored one is reshaped later
        target = add_constant(graph, np.array(sizes[-2:], np.int64), f"{w.name}_shape")
        step = _step("Reshape", [w, target], f"{w.name}_matrix", w)
        step.outputs[0].shape = ir.Shape(sizes[-2:])
        node.prepend(step)
        matrix = step.outputs[0]
    node.replace_input_with(1, matrix)
