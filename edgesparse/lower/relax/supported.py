"""Which operators can be lowered, and why another cannot."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import onnx_ir as ir

from edgesparse.lower.nodes import constant
from edgesparse.lower.relax.operators import OWN
from edgesparse.lower.relax.rewrites import REWRITES

IMPORTED = frozenset(
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh
    DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Flatten Floor
 GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsNaN LRN LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mul
    Neg Not Or Pad QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape RMSNormalization RoiAlign Round ScatterElements ScatterND
    Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile Transpose Trilu Unsqueeze Where Xor
    """.split()
)
"""Operators that TVM imports right, apart from the cases in `_CONDITIONS`."""

_DTYPES = frozenset(
    """FLOAT DOUBLE FLOAT16 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL""".split()
)


def refusal(node: ir.Node) -> str | None:
    """Why `node` cannot be lowered; None where it can."""
    if node.domain not in ("", "ai.onnx"):
        return f"operators of the domain {node.domain} are unknown"
    if node.op_type not in IMPORTED and node.op_type not in REWRITES and node.op_type not in OWN:
        return "no lowering"
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name and value.dtype is not None and value.dtype.name not in _DTYPES:
            return f"elements of type {value.dtype.name} have no lowering"
    if _reads_nothing(node):
        return "an input without elements"
    condition = _CONDITIONS.get(node.op_type)
    return condition(node) if condition is not None else None


def _reads_nothing(node: ir.Node) -> bool:
    """A result with elements, computed from an input without; Concat just leaves such an input out."""
    if node.op_type == "Concat":
        return False
    results = [_size(value) for value in node.outputs if value.name]
    return any(_size(value) == 0 for value in node.inputs) and any(size != 0 for size in results)


def _size(value: ir.Value | None) -> int | None:
    shape = None if value is None else value.shape
    return prod(int(size) for size in shape) if shape is not None and shape.is_static() else None  # type: ignore[arg-type]


def _single_output(node: ir.Node) -> str | None:
    used = [value for value in node.outputs[1:] if value.name and (value.uses() or value.is_graph_output())]
    return "only its first output is computed" if used else None


def _batch_normalization(node: ir.Node) -> str | None:
    return "training mode" if node.attributes.get_int("training_mode", 0) else _single_output(node)


def _dropout(node: ir.Node) -> str | None:
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return None
    array = constant(training)
    return "training mode" if array is None or bool(array.any()) else None


def _bit_cast(node: ir.Node) -> str | None:
    kinds = [value.dtype for value in (node.inputs[0], node.outputs[0]) if value is not None]
    return "elements of type BOOL have no bits to cast" if ir.DataType.BOOL in kinds else None


_CONDITIONS: dict[str, Callable[[ir.Node], str | None]] = {
    "BitCast": _bit_cast,
    "BatchNormalization": _batch_normalization,
    "Dropout": _dropout,
    "LayerNormalization": _single_output,
}
