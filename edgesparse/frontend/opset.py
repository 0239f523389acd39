"""Bring a model to an operator set that knows Gelu, HardSwish and LayerNormalization."""

from __future__ import annotations

import onnx
import onnx_ir as ir

OPSET = 20
"""The oldest opset the later stages meet where conversion works; newer models keep theirs."""


def convert_opset(model: ir.Model) -> ir.Model:
    """Return `model` at opset 20 or newer; as it came where onnx has no conversion for one of its operators."""
    version = model.opset_imports.get("", OPSET)
    if version >= OPSET:
        return model
    proto = ir.to_proto(model)
    try:
        return ir.from_proto(onnx.version_converter.convert_version(proto, OPSET))
    except (RuntimeError, onnx.version_converter.ConvertError):
        return model
