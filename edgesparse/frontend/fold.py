"""Constant folding and graph clean-up by ONNX Runtime, used as a library."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes import common

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError

RANDOM_OPS = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
"""Operators whose result differs from run to run although their inputs are constant."""

# Gemm is canonicalised to MatMul and Add, so ONNX Runtime must not turn those back into Gemm.
KEPT_APART = ["MatMulAddFusion"]


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind `value` where it is an initializer that no caller can override, else None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def fold_constants(model: ir.Model) -> None:
    """Replace, in place, every value that depends on constants only by that constant.

    What ONNX Runtime cannot evaluate stays as it is. Random operators and operators with subgraphs stay too.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph = model.graph
    nodes, frontier = _constant_nodes(graph)
    if not nodes:
        return
    inside = set(nodes)
    wanted = [value for value in frontier if value.is_graph_output() or set(value.consumers()) - inside]
    arrays = _evaluate(model, nodes, wanted)
    if arrays is None:
        return
    for value, array in zip(wanted, arrays, strict=True):
        _replace_by_constant(graph, value, array)
    common.RemoveUnusedNodesPass()(model)


def _constant_nodes(graph: ir.Graph) -> tuple[list[ir.Node], list[ir.Value]]:
    known: set[ir.Value] = {value for value in graph.initializers.values() if constant(value) is not None}
    nodes: list[ir.Node] = []
    frontier: list[ir.Value] = []
    for node in graph:
        if node.op_type in RANDOM_OPS or any(attr.type.name.startswith("GRAPH") for attr in node.attributes.values()):
            continue
        if all(value is None or value in known for value in node.inputs):
            outputs = [value for value in node.outputs if value.name]
            nodes.append(node)
            frontier += outputs
            known.update(outputs)
    return nodes, frontier


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


def _replace_by_constant(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> None:
    producer = value.producer()
    assert producer is not None
    name = value.name
    if value.is_graph_output():  # the output keeps a producer, and its name
        source = add_constant(graph, array, f"{name}_constant")
        copy = ir.node("Identity", [source], name=f"{name}_identity")
        copy.outputs[0].type, copy.outputs[0].shape = value.type, ir.Shape(array.shape)
        producer.append(copy)
        value.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
        value.name, copy.outputs[0].name = f"{name}_computed", name
        return
    folded = add_constant(graph, array, f"{name}_constant")
    value.replace_all_uses_with(folded)


def add_constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """Register `array` as an initializer of `graph`, under `name` or the next free name after it."""
    free, count = name, 1
    while free in graph.initializers:
        free, count = f"{name}_{count}", count + 1
    array = np.asarray(array, order="C")
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def simplify(model: ir.Model) -> ir.Model | None:
    """Run ONNX Runtime's basic optimisations: same operators, fewer of them.

    They fold constants and constant branches, cancel transposes, fold BatchNorm, and remove what does nothing.
    Returns None where ONNX Runtime cannot open the model or answers with operators of its own.
    """
    domains = {node.domain for node in model.graph.all_nodes()}
    options = _options(onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        source, path = Path(folder) / "source.onnx", Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        try:
            ir.save(model, source, external_data="source.bin")
            onnxruntime.InferenceSession(
                str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=KEPT_APART
            )
        except Exception:  # its exception types are not public; the model is used as it came
            return None
        simplified = ir.external_data.load_to_model(ir.load(path))
    if not {node.domain for node in simplified.graph.all_nodes()} <= domains | {""}:
        return None
    return common.RemoveUnusedOpsetsPass()(simplified).model


def _options(level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options
