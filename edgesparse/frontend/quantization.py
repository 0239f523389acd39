"""QuantizeLinear and DequantizeLinear: which operands stay as they are stored, and which parameters mean something."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.fold import constant
from edgesparse.nodes import told

QUANTIZE, DEQUANTIZE = CONVERSIONS = "QuantizeLinear", "DequantizeLinear"

LAYERS = {"Conv": 0, "ConvTranspose": 0, "Gemm": None, "MatMul": None}
"""Operators that sum products, and which operand is the data: the weights and the bias follow it; None: either."""

ARITHMETIC = frozenset({"Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Sub", "Sum", "Where"})
"""Operators that compute with all their operands alike."""


STORED = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT32)
"""Types of what integer kernels read."""


def is_standard(node: ir.Node | None, *operators: str) -> bool:
    """Whether `node` is one of these operators of the standard."""
    return node is not None and node.op_type in operators and node.domain in ("", "ai.onnx")


def is_dequantizing(node: ir.Node) -> bool:
    """Whether `node` is a DequantizeLinear of the standard."""
    return is_standard(node, DEQUANTIZE)


def dequantizing(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that gives `value`, if its scale and its zero point are constants."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node, DEQUANTIZE) and has_constant_parameters(node) else None


def is_stored(value: ir.Value | None) -> bool:
    """Whether `value` is a constant, or what a DequantizeLinear makes of one."""
    node = dequantizing(value)
    return constant(value) is not None or (node is not None and constant(node.inputs[0]) is not None)


def has_constant_parameters(node: ir.Node) -> bool:
    """Whether the scale and the zero point of a conversion are constants, and not by blocks."""
    return node.attributes.get_int("block_size", 0) == 0 and all(
        constant(value) is not None for value in node.inputs[1:3] if value is not None
    )


def is_of_tensor(node: ir.Node) -> bool:
    """Whether a conversion has one scale for the whole tensor, and constant parameters."""
    return has_constant_parameters(node) and all(array is not None and array.size == 1 for array in parameters(node))


def parameters(node: ir.Node) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The scale and the zero point of a conversion, 0 where it has none."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    return constant(node.inputs[1]), np.zeros(1, np.int32) if zero is None else constant(zero)


def stays_stored(node: ir.Node) -> bool:
    """Whether a DequantizeLinear gives constant operands of operators whose data are dequantized too, and no others.

    These are what integer kernels read; all others become floats.
    """
    value = node.outputs[0]
    if not can_stay(node) or value.is_graph_output():
        return False
    uses = tuple(value.uses())
    return bool(uses) and all(goes_with_data(use.node, use.idx) for use in uses)


def can_stay(node: ir.Node) -> bool:
    """Whether integer kernels could read what `node` dequantizes."""
    if not is_standard(node, DEQUANTIZE) or not has_constant_parameters(node):
        return False
    x, scale = node.inputs[0], constant(node.inputs[1])
    return x is not None and scale is not None and scale.dtype == np.float32 and x.dtype in STORED


def goes_with_data(node: ir.Node, at: int) -> bool:
    """Whether operand `at` of `node` goes with data that are dequantized in front of it."""
    others = [value for place, value in enumerate(node.inputs) if place != at]
    if is_standard(node, *LAYERS):
        if at == 2 and node.op_type == "Gemm" and node.attributes.get_float("beta", 1.0) != 1.0:
            return False
        data = LAYERS[node.op_type]
        return at != data and any(map(_is_data, others[:2] if data is None else others[:1]))
    return is_standard(node, *ARITHMETIC) and any(_is_data(value) or _is_sum(node, value) for value in others)


def _is_data(value: ir.Value | None) -> bool:
    """Whether `value` is computed in a run, and dequantized."""
    node = dequantizing(value)
    return node is not None and constant(node.inputs[0]) is None


def _is_sum(node: ir.Node, value: ir.Value | None) -> bool:
    """Whether `node` adds a bias to `value`, the result of a layer of dequantized data."""
    maker = None if value is None else value.producer()
    if maker is None or node.op_type != "Add" or not is_standard(maker, *LAYERS):
        return False
    return any(_is_data(operand) for operand in maker.inputs[:2])


def require_parameters(model: ir.Model) -> None:
    """Check the constant scales and zero points of every conversion.

    Raises: FrontendError: a scale is no finite number above 0, or int32 has a zero point.
    """
    for node in model.graph.all_nodes():
        if is_standard(node, QUANTIZE, DEQUANTIZE):
            for problem in _problems(node):
                raise FrontendError(f"{told(node)}: {problem}")


def _problems(node: ir.Node) -> Iterator[str]:
    operands = [*node.inputs, None, None]
    scale = constant(operands[1])
    if scale is not None and scale.dtype.kind == "f":
        wrong = ~(np.isfinite(scale) & (scale > 0))
        if wrong.any():
            at = "" if scale.size == 1 else f" {int(np.flatnonzero(wrong)[0])} of {scale.size}"
            yield f"scale{at} is {scale[wrong].ravel()[0]}, expected a finite number above 0"
    zero = constant(operands[2])
    if zero is not None and zero.dtype == np.int32 and zero.any():
        yield f"the zero point of int32 is {zero[zero != 0].ravel()[0]}, expected 0"
