"""ONNX values as tensors of the arena; functions of `edgesparse/nodes.py` can be had from here too."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Tensor
from edgesparse.nodes import constant, dtype_of, ints, shape_of
from edgesparse.numerics import element

__all__ = ["constant", "ints", "tensor"]


def tensor(value: ir.Value | None) -> Tensor:
    """The arena tensor behind a value; its shape and type are static after the frontend."""
    shape, of = shape_of(value), element(dtype_of(value))
    assert value is not None
    return Tensor(str(value.name), shape, of)
