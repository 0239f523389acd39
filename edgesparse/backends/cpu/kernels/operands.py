"""Inputs of a node as kernel arguments."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Tensor
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.devices.cpu import Cpu
from edgesparse.errors import InternalError
from edgesparse.numerics import element
from edgesparse.program import Constant


def operand(node: ir.Node, place: int) -> Tensor:
    """The tensor of an input that the operator cannot do without."""
    value = node.inputs[place]
    if value is None:
        raise InternalError(f"node {node.name!r} ({node.op_type}) lacks input {place}")
    return tensor(value)


def padded(value: ir.Value, cpu: Cpu) -> Tensor | Constant:
    """A computed value as it is; a constant with room for the kernel's last vector, which may over-read."""
    held = constant(value)
    if held is None:
        return tensor(value)
    return Constant(np.concatenate([held.ravel(), np.zeros(cpu.lanes(element(held.dtype)), held.dtype)]))


def output_count(node: ir.Node) -> int:
    """How many outputs the model uses or names."""
    return len([value for value in node.outputs if value.name])
