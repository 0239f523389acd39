"""Constants, and what depends on nothing else: ONNX Runtime's own kernels compute it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse import reference
from edgesparse.errors import FrontendError, OnnxRuntimeError
from edgesparse.graph import provenance
from edgesparse.graph.provenance import Origin
from edgesparse.nodes import told
from edgesparse.program import MAX_ARENA_BYTES

RANDOM_OPS = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
"""Operators whose result differs from run to run although their inputs are constant."""

MOST_ALONE = 64
"""The most values that are computed one by one, where ONNX Runtime lacks a kernel for any of them."""

GROWING = ("ConstantOfShape", "EyeLike", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")
"""Operators whose result can be far larger than their operands."""

MOST_COUNTED = 1 << 24
"""The most numbers that a Range may count."""

STEPS = {
    "Cast": "cast",
    "CastLike": "cast",
    "DequantizeLinear": "dequantized",
    "Expand": "repeated",
    "Flatten": "reshaped",
    "Gather": "sliced",
    "Identity": "",
    "Pad": "padded",
    "Reshape": "reshaped",
    "Slice": "sliced",
    "Split": "sliced",
    "Squeeze": "reshaped",
    "Tile": "repeated",
    "Transpose": "transposed",
    "Unsqueeze": "reshaped",
}
"""What operators do to their first operand; the others only say how."""

JOINING = {"Concat": "joined", "Div": "scaled", "Mul": "scaled"}
"""What operators do to all their operands."""

FOLD_BYTES = 1 << 29
"""A larger result stays a node, unless its operands are as large: a small file must not fill the memory.

The largest layer that people deploy, VGG's first linear one, is 392 MiB."""


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind `value` where it is an initializer that no caller can override, else None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def is_random(node: ir.Node) -> bool:
    """Whether `node` may give another result in the next run."""
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
        training = constant(node.inputs[2])
        return training is None or bool(training.any())
    return node.op_type in RANDOM_OPS


def fold_constants(model: ir.Model, kept: Callable[[ir.Node], bool] = lambda node: False) -> bool:
    """Replace, in place, every value that depends on constants only by that constant; returns whether there were any.

    Args: kept: nodes that stay although what they read is constant.

    What ONNX Runtime cannot evaluate stays as it is. Random operators, operators with subgraphs and results that are
    too large stay too.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    nodes, frontier = _constant_nodes(graph, kept)
    inside = set(nodes)
    wanted = [value for value in frontier if value.is_graph_output() or set(value.consumers()) - inside]
    computed = _evaluated(model, nodes, wanted) | _cut_off(graph)
    found = _origins(node for node in graph if node in inside or _cuts_off(node))
    for value, array in computed.items():
        _replace_by_constant(graph, value, array, found[value])
    common.RemoveUnusedNodesPass()(model)
    return bool(computed)


def _origins(nodes: Iterable[ir.Node]) -> dict[ir.Value, tuple[Origin, ...]]:
    """Where what nodes compute from constants came from; the nodes in the order of the graph."""
    found: dict[ir.Value, tuple[Origin, ...]] = {}
    for node in nodes:
        operands = node.inputs[:1] if node.op_type in STEPS else node.inputs
        parts = (found[value] if value in found else provenance.origins(value) for value in operands)
        step = STEPS[node.op_type] if node.op_type in STEPS else JOINING.get(node.op_type, "computed")
        found |= dict.fromkeys(node.outputs, provenance.joined(step, parts))
    return found


def _cut_off(graph: ir.Graph) -> dict[ir.Value, np.ndarray]:
    """What casts of constants give: numbers that a type does not hold become its nearest, as in the kernels."""
    found = {}
    for node in graph:
        array = constant(node.inputs[0]) if _cuts_off(node) else None
        if array is not None:
            kind = node.outputs[0].dtype.numpy()  # type: ignore[union-attr]
            limits, whole = np.iinfo(kind), np.trunc(np.nan_to_num(array.astype(np.float64), nan=0.0))
            inside = np.where((whole > limits.min) & (whole < limits.max), whole, 0.0).astype(kind)
            above = np.where(whole < limits.max, inside, kind.type(limits.max))
            found[node.outputs[0]] = np.where(whole <= limits.min, kind.type(limits.min), above)
    return found


def _cuts_off(node: ir.Node) -> bool:
    """Whether floats become integers of whole bytes."""
    if node.op_type != "Cast" or node.domain or node.inputs[0] is None:
        return False
    kind, to = node.inputs[0].dtype, node.outputs[0].dtype
    return kind is not None and kind.is_floating_point() and to is not None and to.is_integer() and to.bitwidth >= 8


def _constant_nodes(graph: ir.Graph, kept: Callable[[ir.Node], bool]) -> tuple[list[ir.Node], list[ir.Value]]:
    known: set[ir.Value] = {value for value in graph.initializers.values() if constant(value) is not None}
    nodes: list[ir.Node] = []
    frontier: list[ir.Value] = []
    for node in graph:
        if any(attr.type.name.startswith("GRAPH") for attr in node.attributes.values()) or is_random(node):
            continue
        if _cuts_off(node) or kept(node):
            continue
        if not all(value is None or value in known for value in node.inputs) or _is_copied_output(node):
            continue
        if _fits(node):
            outputs = [value for value in node.outputs if value.name]
            nodes.append(node)
            frontier += outputs
            known.update(outputs)
    return nodes, frontier


def _is_copied_output(node: ir.Node) -> bool:
    """Whether `node` is what gives a constant as an output of the graph."""
    return node.op_type == "Identity" and not node.domain and node.outputs[0].is_graph_output()


def _fits(node: ir.Node) -> bool:
    """Whether the results of `node` are known to be small, or hardly larger than its operands."""
    allowed = max(FOLD_BYTES, sum(_size_bytes(value) or 0 for value in node.inputs if value is not None))
    sizes = [_size_bytes(value) for value in node.outputs if value.name]
    known = [size for size in sizes if size is not None]
    return sum(known) <= allowed and (len(known) == len(sizes) or node.op_type not in GROWING)


def _size_bytes(value: ir.Value) -> int | None:
    if value.shape is None or not value.shape.is_static() or value.dtype in (None, ir.DataType.STRING):
        return None
    return int(prod(value.shape.numpy()) * value.dtype.bitwidth // 8)  # type: ignore[union-attr]


def require_ends(model: ir.Model) -> None:
    """Check what every Range counts before its shape is known: to infer it, onnx writes out all numbers.

    Raises: FrontendError: too much, or without end.
    """
    for node in model.graph:
        bounds = [constant(value) for value in node.inputs] if node.op_type == "Range" else [None]
        if any(bound is None or bound.size != 1 for bound in bounds):
            continue
        start, end, step = (bound.item() for bound in bounds)  # type: ignore[union-attr]
        count = (end - start) / step if step else np.inf
        if not count <= MOST_COUNTED:
            counted = f"counts from {start} to {end} by {step}"
            raise FrontendError(f"{told(node)}: {counted}, expected at most {MOST_COUNTED} numbers")


def require_room(model: ir.Model) -> None:
    """Check that no value is larger than all memory of an artifact, and that no small constants make a large one.

    Raises: FrontendError: one is; with the node and the size.
    """
    for value in model.graph.inputs:
        _require_bytes(f"input {value.name!r}", value, MAX_ARENA_BYTES)
    for node in model.graph:
        made = node.op_type in GROWING and all(
            constant(value) is not None for value in node.inputs if value is not None
        )
        for value in node.outputs:
            _require_bytes(told(node), value, FOLD_BYTES if made else MAX_ARENA_BYTES)


def _require_bytes(where: str, value: ir.Value, limit: int) -> None:
    size = _size_bytes(value) or 0
    if size > limit:
        shape = f"{value.dtype}[{', '.join(map(str, value.shape or ()))}]"
        raise FrontendError(f"{where}: {value.name!r} is {shape}: {size} bytes, expected at most {limit}")


def _evaluated(model: ir.Model, nodes: list[ir.Node], wanted: list[ir.Value]) -> dict[ir.Value, np.ndarray]:
    """Those of the values that ONNX Runtime computes: all together, or where it cannot, each by itself."""
    arrays = _evaluate(model, nodes, wanted) if wanted else []
    if arrays is not None:
        return dict(zip(wanted, arrays, strict=True))
    found = {}
    for value in wanted[:MOST_ALONE] if len(wanted) > 1 else ():
        before = _before(value, nodes)
        alone = _evaluate(model, [node for node in nodes if node in before], [value])
        if alone is not None:
            found[value] = alone[0]
    return found


def _before(value: ir.Value, nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """Those of the nodes that a value depends on."""
    among, found, waiting = set(nodes), set[ir.Node](), [value]
    while waiting:
        node = waiting.pop().producer()
        if node in among and node not in found:
            found.add(node)
            waiting += [each for each in node.inputs if each is not None]
    return found


def _evaluate(model: ir.Model, nodes: list[ir.Node], wanted: list[ir.Value]) -> list[np.ndarray] | None:
    values = {value for node in nodes for value in node.inputs if value is not None and value.is_initializer()}
    graph = onnx.helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        "constants",
        [],
        [onnx.helper.make_empty_tensor_value_info(value.name or "") for value in wanted],
        [_named_tensor(value) for value in values],
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=max(model.ir_version, 8))
    try:
        results = reference.evaluate(proto, {})
    except OnnxRuntimeError:  # what it cannot evaluate stays a node
        return None
    return list(results.values()) if len(results) == len(wanted) else None


def _named_tensor(value: ir.Value) -> onnx.TensorProto:
    assert value.const_value is not None
    proto: onnx.TensorProto = ir.to_proto(value.const_value)
    proto.name = value.name or ""
    return proto


def _replace_by_constant(graph: ir.Graph, value: ir.Value, array: np.ndarray, origins: Iterable[Origin]) -> None:
    producer = value.producer()
    assert producer is not None
    name = value.name
    if value.is_graph_output():  # the output keeps a producer, and its name
        source = add_constant(graph, array, f"{name}_constant", origins)
        copy = ir.node("Identity", [source], name=f"{name}_identity")
        copy.outputs[0].type, copy.outputs[0].shape = value.type, ir.Shape(array.shape)
        producer.append(copy)
        value.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
        value.name, copy.outputs[0].name = f"{name}_computed", name
        return
    folded = add_constant(graph, array, f"{name}_constant", origins)
    value.replace_all_uses_with(folded)


def add_constant(graph: ir.Graph, array: np.ndarray, name: str, origins: Iterable[Origin] = ()) -> ir.Value:
    """Register `array` as an initializer of `graph`, under `name` or the next free name after it.

    Args: origins: the tensors of the file that it was made from.
    """
    free, count = name, 1
    while free in graph.initializers:
        free, count = f"{name}_{count}", count + 1
    array = np.asarray(array, order="C")
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    provenance.keep(value, origins)
    graph.register_initializer(value)
    return value
