"""What a model takes besides its weighted layers, which are all that the schedule predicts."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from edgesparse.calibration import Calibration
from edgesparse.layers import layer_of
from edgesparse.nodes import shape_of

WINDOWED = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "LpPool")
PASSES = {"LayerNormalization": 3, "GroupNormalization": 3, "InstanceNormalization": 3, "RMSNormalization": 2}
EXPONENTIALS = ("Softmax", "LogSoftmax")


def rest_us(model: ir.Model, calibration: Calibration, lanes: int) -> float:
    """Microseconds of the nodes of a normalised model that are no weighted layers, roughly, on one thread.

    By unit costs of the kernels that are known. Operators that follow a layer element by element are taken to run
    inside its kernel, for nothing.

    Args:
        lanes: elements in a vector register.
    """
    return sum(_node_ns(node, calibration, lanes) for node in model.graph) / 1e3


def _node_ns(node: ir.Node, calibration: Calibration, lanes: int) -> float:
    costs, y_vectors = calibration.costs, _size(node.outputs[0]) / lanes
    x_vectors = _size(node.inputs[0]) / lanes if node.inputs else 0.0
    if layer_of(node) is not None:
        return 0.0
    if node.op_type in ("Conv", "ConvTranspose"):  # a load and a multiply-add for each weight that an element meets
        vectors = y_vectors if node.op_type == "Conv" else x_vectors
        work_ns = vectors * prod(shape_of(node.inputs[1])[1:]) * _vector_ns(calibration, "sparse")
    elif node.op_type in ("MatMul", "Gemm"):
        work_ns = y_vectors * shape_of(node.inputs[0])[-1] * _vector_ns(calibration, "dense")
    elif node.op_type in WINDOWED:
        kernel = node.attributes.get_ints("kernel_shape", ())
        window = prod(kernel) if kernel else x_vectors / max(y_vectors, 1.0)
        work_ns = y_vectors * window * _vector_ns(calibration, "sparse")
    elif node.op_type in EXPONENTIALS:
        work_ns = y_vectors * (costs.activation_vector_ns + 2 * costs.pack_vector_ns)
    elif node.op_type in PASSES or node.op_type.startswith("Reduce"):
        work_ns = x_vectors * PASSES.get(node.op_type, 1) * costs.pack_vector_ns
    else:
        return 0.0
    return float(costs.call_ns + work_ns)


def _size(value: ir.Value | None) -> int:
    return prod(shape_of(value)) if value is not None and value.shape is not None else 0


def _vector_ns(calibration: Calibration, form: str) -> float:
    """The least time for a vector register of multiply-adds in a loop of that form."""
    known = [
        cost.step_ns / (loop.vectors * loop.rows * loop.chunk)
        for loop, cost in calibration.loops.items()
        if loop.form == form and loop.block == (1, 1)
    ]
    return min(known, default=0.0)
