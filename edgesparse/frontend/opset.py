"""Bring a model to an operator set that knows Gelu, HardSwish and LayerNormalization."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnxscript import version_converter

OPSET = 20
"""The oldest opset the later stages meet where conversion works; newer models keep theirs."""


def convert_opset(model: ir.Model) -> ir.Model:
    """Return `model` at opset 20 or newer; as it came where onnx has no conversion for one of its operators."""
    if model.opset_imports.get("", OPSET) >= OPSET:
        return model
    converted = model.clone()
    logger = logging.getLogger(version_converter.__name__)
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of every fallback
    try:
        version_converter.convert_version(converted, OPSET, fallback=True)
    except Exception:  # noqa: BLE001 - several converters with exceptions of their own; the old opset is still valid
        return model
    finally:
        logger.setLevel(level)
    return converted if converted.opset_imports.get("", 0) >= OPSET else model
