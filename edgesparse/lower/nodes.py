"""Read-only views of `onnx_ir` nodes in the terms of lowering."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InternalError
from edgesparse.lower.kernel import Tensor


def tensor(value: ir.Value) -> Tensor:
    """The arena tensor behind a value; its shape and dtype are static after the frontend."""
    if value.shape is None or value.dtype is None or not value.shape.is_static():
        raise InternalError(f"value {value.name!r} has no static shape or type after normalisation")
    return Tensor(str(value.name), tuple(int(d) for d in value.shape), value.dtype.numpy().name)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer or folded constant; None for anything computed at run time."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def ints(node: ir.Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """An integer-list attribute, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    if attribute is None:
        if default is None:
            raise InternalError(f"node {node.name!r} ({node.op_type}) lacks the attribute {name!r}")
        return default
    return tuple(attribute.as_ints())
