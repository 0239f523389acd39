"""Models in 16 bits: float16 where a CPU computes it and it is accurate enough, float32 for all else."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.nodes import constant, told
from edgesparse.numerics import F16
from edgesparse.quantize.retype import retype

MOVING = (
    *("Concat", "DepthToSpace", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""They move numbers."""

POINTWISE = (
    *("Add", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "PRelu", "Relu", "Selu"),
    *("Sigmoid", "Sub", "Swish", "Tanh"),
)
"""They compute with one number, or two, and round once."""

SUMMING = (
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Div", "Erf", "Exp", "GlobalAveragePool"),
    *("GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log", "LogSoftmax"),
    *("MatMul", "Max", "MaxPool", "Min", "Neg", "Pow", "RMSNormalization", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceSum", "Reciprocal", "Softmax", "Softplus", "Sqrt"),
)
"""They have kernels in float32, and all but layers with constant weights are computed so."""

LARGEST = float(np.finfo(np.float16).max)


def has_half(model: ir.Model) -> bool:
    """Whether nodes read or write float16."""
    values = (value for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None)
    return any(value.dtype == ir.DataType.FLOAT16 for value in values)


def widened(model: ir.Model) -> ir.Model:
    """The model with its float16 values as float32 wherever operators compute: nothing is lost, and less is rounded.

    A model without any, or with subgraphs, is returned as it is.
    """
    if _has_branches(model) or not has_half(model):
        return model
    wide = model.clone()
    known = {node for node in wide.graph if not node.domain and node.op_type in (*MOVING, *POINTWISE, *SUMMING)}
    retype(wide, known, ir.DataType.FLOAT)
    return wide


def halved(model: ir.Model) -> ir.Model:
    """A model of float32 with its layers, and what only moves or maps what they compute, in float16.

    Normalization, softmax, pooling and reductions stay as they are, and so do inputs and outputs. A model with
    subgraphs is returned as it is.

    Raises: FrontendError: a weight or bias is larger than any number of float16.
    """
    if _has_branches(model):
        return model
    half = model.clone()
    chosen: set[ir.Node] = set()
    for node in half.graph:
        if node.domain or not all(value.dtype == ir.DataType.FLOAT for value in node.outputs):
            continue
        if _is_layer(node):
            _require_fitting(node)
            chosen.add(node)
        elif node.op_type in (*MOVING, *POINTWISE) and _follows(node, chosen) and _fits(node):
            chosen.add(node)
    retype(half, chosen, ir.DataType.FLOAT16)
    return half


def _has_branches(model: ir.Model) -> bool:
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for node in model.graph
        for attribute in node.attributes.values()
    )


def _is_layer(node: ir.Node) -> bool:
    """A product with a constant, which has a kernel in float16."""
    return node.op_type in ("Conv", "MatMul") and constant(node.inputs[1]) is not None


def _follows(node: ir.Node, chosen: set[ir.Node]) -> bool:
    return any(value is not None and value.producer() in chosen for value in node.inputs)


def _largest(value: ir.Value | None) -> float:
    array = constant(value)
    if array is None or array.dtype != np.float32:
        return 0.0
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _fits(node: ir.Node) -> bool:
    """No constant becomes infinite, but for limits of Clip, which limit nothing then."""
    return node.op_type == "Clip" or all(_largest(value) <= LARGEST for value in node.inputs)


def _require_fitting(node: ir.Node) -> None:
    for value in node.inputs[1:]:
        largest = _largest(value)
        if largest > LARGEST:
            raise FrontendError(
                f"{told(node)}: {value.name if value else ''} holds {largest:g}, expected at most {LARGEST:g}, "
                f"the largest of {F16.name}; remedy: compile without --dtype {F16.short}"
            )
