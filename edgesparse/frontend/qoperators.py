"""Operators of stored integers as what defines them: the operator of floats, between conversions.

QLinearConv, QLinearMatMul and their kin of ONNX Runtime's domain take scales and zero points as operands. Each becomes
DequantizeLinear nodes with these, the operator, and a QuantizeLinear. Nothing is computed with a scale, but that of a
bias, which is the product of two by definition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.errors import FrontendError
from edgesparse.frontend.dynamic import DYNAMIC
from edgesparse.frontend.quantization import CONVERSIONS
from edgesparse.frontend.writing import CONTRIB, Writer
from edgesparse.nodes import told

SIXTEEN_BITS = 21
"""The first opset in which the standard's conversions know what those of ONNX Runtime's domain do."""

FLATTENING = 13
"""Below this opset Softmax is over all axes from `axis` on, together."""

_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def is_rewritten(node: ir.Node) -> bool:
    """Whether `node` is an operator of another domain than the standard's that is known here."""
    return (node.domain, node.op_type) in RULES and node.domain == CONTRIB


def write_out_quantized(model: ir.Model) -> None:
    """Write out every operator of this file, in place. Shapes need not be known.

    Raises: FrontendError: one lacks an operand, or says what has no form in the standard.
    """
    found = [node for node in model.graph.all_nodes() if (node.domain, node.op_type) in RULES]
    if not found:
        return
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in found:
        _require_channels_second(node)
        RULES[node.domain, node.op_type](Writer(node))
    if any(node.domain == CONTRIB and node.op_type in CONVERSIONS for node in found):
        model.opset_imports[""] = max(model.opset_imports[""], SIXTEEN_BITS)


def _require_channels_second(node: ir.Node) -> None:
    if node.attributes.get_int("channels_last", 0):
        remedy = "quantize the model as it was exported, not as ONNX Runtime has optimised it"
        raise FrontendError(f"{told(node)}: channels_last is not known; remedy: {remedy}")


def _attributes(w: Writer, *names: str) -> dict[str, object]:
    """Those that the node has, under the same names."""
    return {name: w.node.attributes[name] for name in names if name in w.node.attributes}


def _unary(operator: str, *kept: str) -> Callable[[Writer], None]:
    """x, its scale and zero point, those of y."""

    def write(w: Writer) -> None:
        w.require(0, 1, 3)
        x = w.dequantized(0, w.operand(1), w.operand(2))
        w.end(w.quantized(w.layer(operator, x, **_attributes(w, *kept)), 3, 4, 0))

    return write


def _binary(operator: str) -> Callable[[Writer], None]:
    """a, b and y, each with scale and zero point."""

    def write(w: Writer) -> None:
        w.require(0, 1, 3, 4, 6)
        a, b = w.dequantized(0, w.operand(1), w.operand(2)), w.dequantized(3, w.operand(4), w.operand(5))
        w.end(w.quantized(w.layer(operator, a, b), 6, 7, 0))

    return write


def _where(w: Writer) -> None:
    w.require(*range(9))
    x, y = w.dequantized(1, w.operand(2), w.operand(3)), w.dequantized(4, w.operand(5), w.operand(6))
    w.end(w.quantized(w.layer("Where", w.operand(0), x, y), 7, 8, 1))


def _conv(w: Writer) -> None:
    """Weights have a scale for each output channel; the bias is in the steps of a sum."""
    w.require(*range(8))
    x = w.dequantized(0, w.operand(1), w.operand(2))
    weight = w.dequantized(3, w.operand(4), w.operand(5))
    operands = [x, weight]
    if w.operand(8) is not None:
        operands.append(w.dequantized(8, w.add("Mul", w.operand(1), w.operand(4)), None))
    w.end(w.quantized(w.layer("Conv", *operands, **_attributes(w, *_WINDOW)), 6, 7, 0))


def _matmul(w: Writer) -> None:
    """The left operand has a scale in all or one a row, the right one in all or one a column."""
    w.require(*range(8))
    a = w.dequantized(0, w.operand(1), w.operand(2), axis=-2)
    b = w.dequantized(3, w.operand(4), w.operand(5), axis=-1)
    w.end(w.quantized(w.layer("MatMul", a, b), 6, 7, 0))


def _gemm(w: Writer) -> None:
    """C is in the steps of alpha times a sum; without a scale of y the result is float."""
    w.require(*range(6))
    get = w.node.attributes
    a = w.dequantized(0, w.operand(1), w.operand(2))
    b = w.dequantized(3, w.operand(4), w.operand(5), axis=0 if get.get_int("transB", 0) else 1)
    operands = [a, b]
    if w.operand(6) is not None:
        step = w.add("Mul", w.operand(1), w.operand(4))
        if get.get_float("alpha", 1.0) != 1.0:
            step = w.add("Mul", step, w.constant(np.array(get.get_float("alpha", 1.0), np.float32)))
        operands.append(w.dequantized(6, step, None, axis=-1))
    y = w.layer("Gemm", *operands, **_attributes(w, "alpha", "transA", "transB"))
    w.end(y if w.operand(7) is None else w.quantized(y, 7, 8, 0))


def _concat(w: Writer) -> None:
    """First the scale and zero point of y, then three operands for each part."""
    count = len(w.node.inputs)
    if count < 5 or count % 3 != 2:
        raise FrontendError(f"{told(w.node)}: got {count} inputs, expected 2 and 3 for each part")
    w.require(*range(count))
    parts = [w.dequantized(at, w.operand(at + 1), w.operand(at + 2)) for at in range(2, count, 3)]
    w.end(w.quantized(w.layer("Concat", *parts, axis=w.node.attributes.get_int("axis", 0)), 0, 1, 2))


def _softmax(w: Writer) -> None:
    w.require(0, 1, 3)
    x, axis = w.dequantized(0, w.operand(1), w.operand(2)), w.node.attributes.get_int("axis", -1)
    if w.node.attributes.get_int("opset", FLATTENING) >= FLATTENING:
        y = w.layer("Softmax", x, axis=axis)
    else:
        rows = w.layer("Softmax", w.add("Flatten", x, axis=axis), axis=-1)
        y = w.add("Reshape", rows, w.add("Shape", x))
    w.end(w.quantized(y, 3, 4, 0))


def _reduce_mean(w: Writer) -> None:
    w.require(0, 1, 3)
    x, axes = w.dequantized(0, w.operand(1), w.operand(2)), list(w.node.attributes.get_ints("axes", ()))
    over = [w.constant(np.array(axes, np.int64))] if axes else []
    y = w.layer("ReduceMean", x, *over, keepdims=w.node.attributes.get_int("keepdims", 1))
    w.end(w.quantized(y, 3, 4, 0))


def _conversion(w: Writer) -> None:
    w.require(0, 1)
    w.end(w.layer(w.node.op_type, *w.node.inputs, axis=w.node.attributes.get_int("axis", 1)))


RULES: dict[tuple[str, str], Callable[[Writer], None]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    **{(CONTRIB, operator): rule for operator, rule in DYNAMIC.items()},
    **{(CONTRIB, operator): _conversion for operator in CONVERSIONS},
    (CONTRIB, "QGemm"): _gemm,
    (CONTRIB, "QLinearAdd"): _binary("Add"),
    (CONTRIB, "QLinearAveragePool"): _unary("AveragePool", *_WINDOW),
    (CONTRIB, "QLinearConcat"): _concat,
    (CONTRIB, "QLinearConv"): _conv,
    (CONTRIB, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
    (CONTRIB, "QLinearLeakyRelu"): _unary("LeakyRelu", "alpha"),
    (CONTRIB, "QLinearMul"): _binary("Mul"),
    (CONTRIB, "QLinearReduceMean"): _reduce_mean,
    (CONTRIB, "QLinearSigmoid"): _unary("Sigmoid"),
    (CONTRIB, "QLinearSoftmax"): _softmax,
    (CONTRIB, "QLinearWhere"): _where,
}
"""By domain and operator."""
