"""Which operators can be lowered, and why another cannot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.relax.builder import names
from edgesparse.backends.cpu.relax.compute import EMPTY_REDUCTIONS
from edgesparse.backends.cpu.relax.operators import OWN
from edgesparse.backends.cpu.relax.rewrites import REWRITES
from edgesparse.backends.cpu.tensors import constant
from edgesparse.numerics import ELEMENTS

IMPORTED = names(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos
    Cosh DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Einsum Equal Erf Exp Floor
    Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsNaN LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax LpPool MatMul MatMulInteger Max MaxPool Mean
    Min Mish Mul Neg Not Or Pad QuantizeLinear RMSNormalization Range Reciprocal Relu Round ScatterND Sigmoid
    Sign Sin Sinh Slice Softmax Softplus Softsign Sqrt Sub Sum Tan Tanh Tile Transpose Trilu Where Xor
    """
)
"""Operators that TVM imports right, apart from the cases in `_CONDITIONS`."""

CONSTANT_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(EMPTY_REDUCTIONS, (1,)),
    "AffineGrid": (1,),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
}
"""Inputs, by operator and position, whose values decide shapes, axes or the form of the computation."""

_ALONG_AXES = names(
    """
    ArgMax ArgMin Concat CumProd CumSum Gather GatherElements Hardmax LayerNormalization LogSoftmax LpNormalization
    RMSNormalization ScatterElements Softmax Split TopK
    """
)
"""Operators that work along an axis of their first input."""

_DTYPES = frozenset(row.onnx for row in ELEMENTS.values())


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
    if any(value.is_graph_output() and _size(value) == 0 for value in node.outputs):
        return "an output of the model without elements"
    if node.op_type in _ALONG_AXES and node.inputs[0] is not None and node.inputs[0].shape == ():
        return "a scalar, which has no axis"
    for position in CONSTANT_INPUTS.get(node.op_type, ()):
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is not None and constant(value) is None:
            return f"input {position} must be a constant"
    condition = _CONDITIONS.get(node.op_type)
    return condition(node) if condition is not None else None


def _reads_nothing(node: ir.Node) -> bool:
    """A result with elements, computed from an input without; Concat leaves such an input out."""
    if node.op_type == "Concat" or node.op_type in EMPTY_REDUCTIONS:
        return False
    results = [_size(value) for value in node.outputs if value.name]
    operands = [value for value in node.inputs if value is not None and constant(value) is None]
    return any(_size(value) == 0 for value in operands) and any(size != 0 for size in results)


def _size(value: ir.Value | None) -> int | None:
    shape = None if value is None else value.shape
    return int(np.prod(shape.numpy(), dtype=np.int64)) if shape is not None and shape.is_static() else None


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


def _group_normalization(node: ir.Node) -> str | None:
    return None if _is_float32(node) else "only float32 has a kernel"


def _layer_normalization(node: ir.Node) -> str | None:
    """TVM has none for float64; the definition of the operator in simpler ones takes its place."""
    kind = node.inputs[0].dtype if node.inputs[0] is not None else None
    return "of float64" if kind == ir.DataType.DOUBLE else _single_output(node)


def _rms_normalization(node: ir.Node) -> str | None:
    """TVM 0.27 fails where every axis is normalised; for float32 there is a kernel."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    whole = shape is not None and node.attributes.get_int("axis", -1) % max(len(shape), 1) == 0
    return "only float32 has a kernel over all axes" if whole and not _is_float32(node) else None


def _is_float32(node: ir.Node) -> bool:
    return node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT


def _unblocked(node: ir.Node) -> str | None:
    return "scales for blocks" if node.attributes.get_int("block_size", 0) else None


def _quantize(node: ir.Node) -> str | None:
    return _of_floats(node) or _unblocked(node)


def _is_real(node: ir.Node) -> bool:
    kind = node.inputs[0].dtype if node.inputs[0] is not None else None
    return kind is None or kind.is_floating_point()


def _real(node: ir.Node) -> str | None:
    return None if _is_real(node) else "logarithms of integers, cast them to float before"


def _of_floats(node: ir.Node) -> str | None:
    return None if _is_real(node) else "of integers, cast them to float before"


def _grid_sample(node: ir.Node) -> str | None:
    """ONNX Runtime has no cubic interpolation in three dimensions to compare with."""
    if node.attributes.get_string("mode", "linear") in ("cubic", "bicubic") and _rank(node.inputs[0]) > 4:
        return "cubic interpolation in three dimensions"
    return None if _is_real(node) else "interpolation of integers"


def _rank(value: ir.Value | None) -> int:
    return len(value.shape) if value is not None and value.shape is not None else 0


def _resize(node: ir.Node) -> str | None:
    get = node.attributes
    cubic = get.get_string("mode", "nearest") == "cubic"
    if get.get_int("antialias", 0) and get.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "antialias of a region"
    return "cubic interpolation of integers, cast them to float before" if cubic and not _is_real(node) else None


def _gemm(node: ir.Node) -> str | None:
    factors = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    whole = _is_real(node) or all(factor.is_integer() for factor in factors)
    return None if whole else "integers times alpha or beta that is none"


def _roi_align(node: ir.Node) -> str | None:
    return "mode max" if node.attributes.get_string("mode", "avg") != "avg" else None


_CONDITIONS: dict[str, Callable[[ir.Node], str | None]] = {
    "BitCast": _bit_cast,
    "BatchNormalization": _batch_normalization,
    "DequantizeLinear": _unblocked,
    "Dropout": _dropout,
    "Erf": _of_floats,
    "Gemm": _gemm,
    "GridSample": _grid_sample,
    "GroupNormalization": _group_normalization,
    "LayerNormalization": _layer_normalization,
    "QuantizeLinear": _quantize,
    "RMSNormalization": _rms_normalization,
    "ReduceLogSum": _real,
    "ReduceLogSumExp": _real,
    "Resize": _resize,
    "RoiAlign": _roi_align,
}
