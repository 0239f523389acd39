"""Operators of ONNX Runtime's domain that quantize in a run, by those of the standard.

A DynamicQuantizeLSTM becomes an LSTM with the floats that its weights stand for: ONNX Runtime quantizes the input once
and the state at every step, by the range of the moment, so that its result differs by the rounding of that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.writing import Writer
from edgesparse.graph.provenance import derived
from edgesparse.nodes import told


def _quantized_product(w: Writer) -> None:
    """a is quantized by its range; b, its scale, its zero point and a bias of floats are given."""
    w.require(0, 1, 2)
    a, a_scale, a_zero = w.many("DynamicQuantizeLinear", 3, w.operand(0))
    sums = w.layer("MatMulInteger", a, w.operand(1), a_zero, w.operand(3))
    _end(w, sums, w.add("Mul", a_scale, w.operand(2)), w.operand(4))


def _product_to_float(w: Writer) -> None:
    w.require(0, 1, 2, 3)
    sums = w.layer("MatMulInteger", w.operand(0), w.operand(1), w.operand(4), w.operand(5))
    _end(w, sums, w.add("Mul", w.operand(2), w.operand(3)), w.operand(6))


def _end(w: Writer, sums: ir.Value, scale: ir.Value, bias: ir.Value | None) -> None:
    y = w.add("Mul", w.add("Cast", sums, to=int(ir.DataType.FLOAT)), scale)
    w.end(y if bias is None else w.add("Add", y, bias))


def _lstm(w: Writer) -> None:
    """Weights are [directions, K, 4 * hidden], scales [directions] or [directions, 4 * hidden]."""
    w.require(0, 1, 2, 8, 9, 10, 11)
    weights = [_real(w, 1, 8), _real(w, 2, 10)]
    operands = [w.operand(0), *weights, *(w.operand(at) for at in range(3, 8))]
    while operands[-1] is None:
        operands.pop()
    outputs = w.many("LSTM", len(w.node.outputs), *operands, **w.node.attributes)
    outputs[0].producer().name = w.node.name  # type: ignore[union-attr]
    w.end(*outputs)


def _real(w: Writer, at: int, scale_at: int) -> ir.Value:
    """The floats of weights as LSTM wants them, [directions, 4 * hidden, K]."""
    arrays = [constant(w.operand(place)) for place in (at, scale_at, scale_at + 1)]
    stored, scale, zero = arrays
    if stored is None or scale is None or zero is None:
        raise FrontendError(f"{told(w.node)}: its weights, their scales and zero points are no constants")
    if not _fit(stored, scale, zero):
        shapes = ", ".join(str(list(array.shape)) for array in (stored, scale, zero))
        raise FrontendError(f"{told(w.node)}: weights, scales and zero points of the shapes {shapes} do not fit")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise FrontendError(f"{told(w.node)}: a scale of its weights is no finite number above 0")
    along = (len(stored), 1, -1)
    real = (stored.astype(np.int32) - zero.astype(np.int32).reshape(along)) * scale.reshape(along)
    assert w.node.graph is not None
    origins = derived("dequantized", w.operand(at))
    array = np.ascontiguousarray(real.astype(np.float32).swapaxes(1, 2))
    graph = w.node.graph
    assert isinstance(graph, ir.Graph)
    return add_constant(graph, array, f"{w.node.name}_weights_{at}", origins)


def _fit(stored: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> bool:
    if stored.ndim != 3:
        return False
    shapes = ((stored.shape[0],), (stored.shape[0], stored.shape[2]))
    return scale.shape in shapes and zero.shape in shapes


DYNAMIC: dict[str, Callable[[Writer], None]] = {
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeMatMul": _quantized_product,
    "MatMulIntegerToFloat": _product_to_float,
}
