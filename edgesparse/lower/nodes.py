"""The arena's view of ONNX values, and what reads nodes (`edgesparse/nodes.py`) under one roof."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.lower.kernel import Tensor
from edgesparse.nodes import constant, dtype_of, ints, shape_of

__all__ = ["constant", "ints", "tensor"]


def tensor(value: ir.Value | None) -> Tensor:
    """The arena tensor behind a value; its shape and dtype are static after the frontend."""
    shape, dtype = shape_of(value), dtype_of(value)
    assert value is not None
    return Tensor(str(value.name), shape, dtype)
