"""What ops other than weighted layers take: a rough price, by unit costs of the kernels that are known."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from edgesparse.devices.costs import CostTable
from edgesparse.devices.cpu import Cpu
from edgesparse.graph.ops import Depthwise, Op, Other
from edgesparse.nodes import dtype_of, shape_of
from edgesparse.numerics import element

WINDOWED = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "LpPool")
PASSES = {"LayerNormalization": 3, "GroupNormalization": 3, "InstanceNormalization": 3, "RMSNormalization": 2}
EXPONENTIALS = ("Softmax", "LogSoftmax")


def op_us(op: Op, table: CostTable, cpu: Cpu) -> float:
    """Microseconds on one thread of an op that is no weighted layer; what it absorbs costs nothing more."""
    if isinstance(op, Other) and op.is_view:
        return 0.0
    nodes = op.nodes[:1] if isinstance(op, Depthwise) else op.nodes
    return (table.costs.call_ns + sum(_work_ns(node, table, cpu) for node in nodes)) / 1e3


def _work_ns(node: ir.Node, table: CostTable, cpu: Cpu) -> float:
    """What a node's work takes; a node without a known kernel is priced as one pass over its result."""
    costs, x_vectors, y_vectors = table.costs, _vectors(node.inputs[:1], cpu), _vectors(node.outputs, cpu)
    if node.op_type in ("Conv", "ConvTranspose"):  # a load and a multiply-add for each weight that an element meets
        vectors = y_vectors if node.op_type == "Conv" else x_vectors
        return vectors * prod(shape_of(node.inputs[1])[1:]) * _multiply_ns(table, "sparse")
    if node.op_type in ("MatMul", "Gemm"):
        return y_vectors * shape_of(node.inputs[0])[-1] * _multiply_ns(table, "dense")
    if node.op_type in WINDOWED:
        kernel = node.attributes.get_ints("kernel_shape", ())
        window = prod(kernel) if kernel else x_vectors / max(y_vectors, 1.0)
        return y_vectors * window * _multiply_ns(table, "sparse")
    if node.op_type in EXPONENTIALS:
        return y_vectors * (costs.activation_vector_ns + 2 * costs.pack_vector_ns)
    if node.op_type in PASSES or node.op_type.startswith("Reduce"):
        return x_vectors * PASSES.get(node.op_type, 1) * costs.pack_vector_ns
    return y_vectors * costs.pack_vector_ns


def _vectors(values: Sequence[ir.Value | None], cpu: Cpu) -> float:
    """Registers that hold the values."""
    there = [value for value in values if value is not None and value.name]
    return sum(prod(shape_of(value)) / cpu.lanes(element(dtype_of(value))) for value in there)


def _multiply_ns(table: CostTable, form: str) -> float:
    """The least time for a vector register of multiply-adds in a loop of that form."""
    known = [
        cost.step_ns / (loop.vectors * loop.rows * loop.chunk)
        for loop, cost in table.loops.items()
        if loop.form == form and loop.block == (1, 1)
    ]
    return min(known, default=0.0)
