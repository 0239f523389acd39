"""Attributes and operands of a node that say how it computes, as Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch


def ints(tensor: torch.Tensor) -> list[int]:
    """The numbers of a tensor that says how."""
    return [int(each) for each in tensor.reshape(-1).tolist()]


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of an attribute, or the default where it is left out."""
    held = node.attributes.get(name)
    return default if held is None else held.value


def optional(inputs: Sequence[Any], at: int) -> Any:
    """An input, or None where it is left out."""
    return inputs[at] if len(inputs) > at else None
