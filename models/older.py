"""The same model in older ONNX, for runtimes that stopped following it: opset 14, without the newer operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 14
IR_VERSION = 8


def older(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a model: Gelu and LayerNormalization as what they are made of, no NaN guards after Softmax.

    Raises: an exception of the converter of `onnx`: an operator has no form in that opset.
    """
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    constants: dict[str, np.ndarray] = {}
    del graph.node[:]
    guarded = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "IsNaN"}
    same: dict[str, str] = {}
    for node in model.graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "IsNaN":
            continue
        if node.op_type == "Where" and guarded.get(node.input[0]) == node.input[2]:
            same[node.output[0]] = inputs[2]
        elif node.op_type in _REWRITES:
            graph.node.extend(_REWRITES[node.op_type](node, inputs, constants))
        else:
            graph.node.add().CopyFrom(node)
            graph.node[-1].input[:] = inputs
            _drop_attributes(graph.node[-1])
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    del graph.value_info[:]
    opsets = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    rewritten = helper.make_model(graph, opset_imports=opsets)
    converted = onnx.version_converter.convert_version(rewritten, OPSET)
    converted.ir_version = IR_VERSION
    return converted


def _gelu(node: onnx.NodeProto, inputs: Sequence[str], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """x * (1 + erf(x / sqrt(2))) * 0.5, in the order that older exporters wrote."""
    (x,), y = inputs, node.output[0]
    constants |= {"older_sqrt2": _scalar(2.0**0.5), "older_1": _scalar(1.0), "older_half": _scalar(0.5)}
    return [
        helper.make_node("Div", [x, "older_sqrt2"], [y + "_scaled"]),
        helper.make_node("Erf", [y + "_scaled"], [y + "_erf"]),
        helper.make_node("Add", [y + "_erf", "older_1"], [y + "_sum"]),
        helper.make_node("Mul", [x, y + "_sum"], [y + "_product"]),
        helper.make_node("Mul", [y + "_product", "older_half"], [y]),
    ]


def _layer_norm(node: onnx.NodeProto, inputs: Sequence[str], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias over the last axis."""
    (x, scale, bias), y = inputs, node.output[0]
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    constants |= {y + "_epsilon": _scalar(epsilon), "older_axes": np.array([-1])}
    return [
        helper.make_node("ReduceMean", [x, "older_axes"], [y + "_mean"]),
        helper.make_node("Sub", [x, y + "_mean"], [y + "_centred"]),
        helper.make_node("Mul", [y + "_centred", y + "_centred"], [y + "_squares"]),
        helper.make_node("ReduceMean", [y + "_squares", "older_axes"], [y + "_variance"]),
        helper.make_node("Add", [y + "_variance", y + "_epsilon"], [y + "_shifted"]),
        helper.make_node("Sqrt", [y + "_shifted"], [y + "_deviation"]),
        helper.make_node("Div", [y + "_centred", y + "_deviation"], [y + "_normal"]),
        helper.make_node("Mul", [y + "_normal", scale], [y + "_scaled"]),
        helper.make_node("Add", [y + "_scaled", bias], [y]),
    ]


def _scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


_REWRITES = {"Gelu": _gelu, "LayerNormalization": _layer_norm}


def _drop_attributes(node: onnx.NodeProto) -> None:
    """Without those that only newer operators have; exporters write them although they change nothing."""
    kept = [attribute for attribute in node.attribute if attribute.name not in ("allowzero", "noop_with_empty_axes")]
    del node.attribute[:]
    node.attribute.extend(kept)
