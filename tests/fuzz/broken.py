"""Models that cannot be compiled as they are: each must be refused by one line, never by a traceback or in silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Make = Callable[[np.random.Generator], onnx.ModelProto]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **constants: object,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "broken", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _value(name: str, shape: list[int | str] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _channels(rng: np.random.Generator) -> onnx.ModelProto:
    """A weight for other channels than the input has."""
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weight = np.ones((2, int(rng.integers(4, 7)), 1, 1), np.float32)
    inside = rng.random() < 0.5
    model = _model([node], [_value("x", [1, 3, 5, 5])], [_value("y", [1, 2, 5, 5])], w=weight)
    if inside:
        model.graph.node.append(helper.make_node("Relu", ["y"], ["z"]))
        model.graph.output[0].CopyFrom(_value("z", [1, 2, 5, 5]))
        model.graph.value_info.append(_value("y", [1, 2, 5, 5]))
    return model


def _product(rng: np.random.Generator) -> onnx.ModelProto:
    """A product of matrices that do not fit."""
    return _model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [_value("x", [2, 3])],
        [_value("y", [2, 4])],
        w=np.ones((5, 4), np.float32),
    )


def _broadcast(rng: np.random.Generator) -> onnx.ModelProto:
    """Operands that do not broadcast."""
    op = str(rng.choice(["Add", "Mul", "Pow", "Max"]))
    return _model(
        [helper.make_node(op, ["x", "w"], ["y"])],
        [_value("x", [2, 3])],
        [_value("y", [2, 3])],
        w=np.ones(4, np.float32),
    )


def _types(rng: np.random.Generator) -> onnx.ModelProto:
    """Operands of different types."""
    return _model(
        [helper.make_node("Add", ["x", "w"], ["y"])], [_value("x", [3])], [_value("y", [3])], w=np.ones(3, np.int64)
    )


def _unknown_sizes(rng: np.random.Generator) -> onnx.ModelProto:
    """Sizes other than a leading batch that nobody gives: they must not become 1."""
    height = [1, 3, "height", "width"] if rng.random() < 0.5 else ["batch", 3, "height", 8]
    node = helper.make_node(str(rng.choice(["Relu", "GlobalAveragePool", "MaxPool"])), ["x"], ["y"])
    if node.op_type == "MaxPool":
        node.attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    return _model([node], [_value("x", height)], [_value("y", ["a", "b", "c", "d"])])


def _sequence(rng: np.random.Generator) -> onnx.ModelProto:
    """An output that is a sequence."""
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    return _model([node], [_value("x", [3])], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [3])])


def _same_names(rng: np.random.Generator) -> onnx.ModelProto:
    """Two values of one name."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    return _model(nodes, [_value("x", [3])], [_value("y", [3])])


def _nowhere(rng: np.random.Generator) -> onnx.ModelProto:
    """A value that nothing makes."""
    return _model([helper.make_node("Add", ["x", "ghost"], ["y"])], [_value("x", [3])], [_value("y", [3])])


def _strange(rng: np.random.Generator) -> onnx.ModelProto:
    """An operator that nobody knows."""
    domain = str(rng.choice(["", "com.example"]))
    model = _model(
        [helper.make_node("Frobnicate", ["x"], ["y"], domain=domain)], [_value("x", [3])], [_value("y", [3])]
    )
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def _circle(rng: np.random.Generator) -> onnx.ModelProto:
    """Values that need each other."""
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return _model(nodes, [_value("x", [3])], [_value("a", [3])])


BROKEN: dict[str, Make] = {
    "channels that do not match": _channels,
    "matrices that do not fit": _product,
    "operands that do not broadcast": _broadcast,
    "operands of different types": _types,
    "unknown sizes": _unknown_sizes,
    "a sequence as output": _sequence,
    "two values of one name": _same_names,
    "a value that nothing makes": _nowhere,
    "an unknown operator": _strange,
    "values that need each other": _circle,
}
"""Makers of models by what is wrong with them."""
