"""Bring a model to an operator set that knows Gelu, HardSwish and LayerNormalization."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript import version_converter

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.shapes import infer_shapes, static_shape

OPSET = 20
"""The oldest opset the later stages meet where conversion works; newer models keep theirs."""

BROADCAST_OPSET = 7
"""From here on operators broadcast as numpy does; onnx converts all older ones but PRelu."""


def convert_opset(model: ir.Model) -> ir.Model:
    """Return `model` at opset 20 or newer; as it came where onnx has no conversion for one of its operators."""
    version = model.opset_imports.get("", OPSET)
    if version >= OPSET:
        return model
    converted = model.clone()
    if version < BROADCAST_OPSET:
        converted = infer_shapes(converted)
        _align_slopes(converted)
    try:
        version_converter.convert_version(converted, OPSET, fallback=True)
    except Exception:  # several converters with exceptions of their own; the old opset is still valid
        return model
    same = [static_shape(value) for value in converted.graph.inputs] == [static_shape(v) for v in model.graph.inputs]
    return converted if same and converted.opset_imports.get("", 0) >= OPSET else model


def _align_slopes(model: ir.Model) -> None:
    """PRelu's slope of one value a channel: [C] becomes [C, 1, ...], as broadcasting wants it."""
    for node in list(model.graph):
        if node.op_type != "PRelu" or node.domain:
            continue
        slope, shape = constant(node.inputs[1]), static_shape(node.inputs[0])
        if slope is not None and shape is not None and slope.ndim == 1 and slope.size > 1:
            column = slope.reshape((-1,) + (1,) * (len(shape) - 2))
            node.replace_input_with(1, add_constant(model.graph, column, f"{node.name}_slope"))
