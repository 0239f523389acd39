"""Weighted layers of bytes: their weights and bias as integers, and what becomes of their sums."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.graph.absorb import only_reader
from edgesparse.graph.groups import BYTES, Operand, Result, between, dequantized, result_of
from edgesparse.graph.integer import stored
from edgesparse.graph.quantized import Requantization
from edgesparse.nodes import constant, shape_of
from edgesparse.numerics import F32, I32, QUAD_I8, Element, Numerics

_Nodes = tuple[ir.Node, ...]

SAME = 1e-6  # relative: scales of a bias that are the product of those of x and w, but for rounding


@dataclass(frozen=True, eq=False)
class Sums:
    """int32 sums of products of x and w, and what becomes of them.

    `weight` is int8 as ONNX lays it out, around zero; `scale` float32 [M], that of a sum; `bias` int32 [M], without
    the part of x's zero point.
    """

    node: ir.Node
    x: Operand
    w: Operand
    nodes: tuple[ir.Node, ...]
    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    result: Result

    @property
    def op(self) -> str:
        """What is computed, such as "Conv+Relu"."""
        return between(self.nodes)

    def numerics(self, dotted: Element) -> Numerics:
        """The element types of the layer on quads."""
        return Numerics(dotted, QUAD_I8, I32, F32 if self.result.by is None else dotted)

    def started(self, dotted: Element) -> np.ndarray:
        """What sums over the stored bytes of x begin with: the bias, less what x's zero point adds; int32 [M]."""
        axes = tuple(range(1, self.weight.ndim)) if self.node.op_type == "Conv" else tuple(range(self.weight.ndim - 1))
        zeros = self.weight.sum(axis=axes, dtype=np.int64) * int(stored(self.x.by, dotted).zero)
        first: np.ndarray = (self.bias - zeros).astype(np.int32)
        return first

    def requantization(self, dotted: Element) -> Requantization | None:
        """What is stored of a sum in quads; None where the layer gives float32."""
        by = self.result.by
        if by is None:
            return None
        there = stored(by, dotted)
        moved = int(there.zero) - int(by.zero)
        low, high = self.result.limits()
        scale = (self.scale / by.scale).astype(np.float32)
        return Requantization(there.element, scale, int(there.zero), low + moved, high + moved)


def sums_of(node: ir.Node, taken: Set[ir.Node]) -> Sums | None:
    """The integer layer that a Conv or MatMul of bytes by constant bytes is; None for any other node."""
    if node.op_type not in ("Conv", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    x, w = dequantized(node.inputs[0]), dequantized(node.inputs[1])
    if x is None or w is None or {x.node, w.node} & taken or x.by.scale.size > 1 or x.by.element.name not in BYTES:
        return None
    axis = 0 if node.op_type == "Conv" else len(shape_of(w.value)) - 1
    weight = _weight(w, axis)
    if weight is None or constant(x.value) is not None:
        return None
    channels = weight.shape[axis]
    scale = np.broadcast_to((x.by.scale * w.by.scale).astype(np.float32), (channels,))
    biased = _bias(node, scale, taken)
    if biased is None:
        return None
    bias, behind, value = biased
    result = result_of(value, taken)
    if result.by is not None and result.by.element.name not in BYTES:
        result = Result((), value, None)
    nodes = (x.node, w.node, *behind, *result.nodes)
    return Sums(node, x, w, nodes, weight, scale, bias, result)


def _weight(w: Operand, axis: int) -> np.ndarray | None:
    """The integers around zero; None where they do not fit int8, or scales are of another axis than channels."""
    array = constant(w.value)
    if array is None or w.by.element.name not in BYTES or array.ndim < 2:
        return None
    zero = w.by.zero
    if w.by.scale.size > 1:
        given = w.node.attributes.get_int("axis", 1) % array.ndim
        if given != axis or w.by.scale.size != array.shape[axis]:
            return None
        zero = zero.reshape([-1 if at == axis else 1 for at in range(array.ndim)])
    centred = array.astype(np.int32) - zero
    low, high = (int(centred.min()), int(centred.max())) if centred.size else (0, 0)
    return centred.astype(np.int8) if low >= -128 and high <= 127 else None


def _bias(node: ir.Node, scale: np.ndarray, taken: Set[ir.Node]) -> tuple[np.ndarray, _Nodes, ir.Value] | None:
    """The bias [M] in int32, the nodes from the layer on that it takes, and the value with it; None for one that only
    a run knows."""
    value = node.outputs[0]
    if node.op_type == "Conv":
        given = node.inputs[2] if len(node.inputs) > 2 else None
        if given is None:
            return np.zeros(len(scale), np.int32), (node,), value
        found = _numbers(given, scale)
        return None if found is None else (found[0], (*found[1], node), value)
    add = only_reader(value)
    if add is not None and add not in taken and add.op_type == "Add" and add.outputs[0].shape == value.shape:
        other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
        found = _numbers(other, scale)
        if found is not None:
            return found[0], (*found[1], node, add), add.outputs[0]
    return np.zeros(len(scale), np.int32), (node,), value


def _numbers(value: ir.Value | None, scale: np.ndarray) -> tuple[np.ndarray, _Nodes] | None:
    """Constants [M], as sums of that scale: integers of it as they are, others rounded to them."""
    found, real = dequantized(value), constant(value)
    stored_as = None if found is None else constant(found.value)
    array = real if stored_as is None else stored_as
    if array is None or array.size not in (1, len(scale)) or array.shape[-1:] not in ((), (1,), scale.shape):
        return None
    nodes = () if found is None else (found.node,)
    flat = array.reshape(-1)
    if found is not None:
        sums = flat.astype(np.int32) - found.by.zero
        if found.by.element.name == "int32" and np.allclose(found.by.scale, scale, rtol=SAME, atol=0.0):
            return np.broadcast_to(sums, scale.shape), nodes
        flat = sums.astype(np.float32) * found.by.scale
    with np.errstate(all="ignore"):
        rounded = np.rint(flat.astype(np.float64) / scale)
    if not np.isfinite(rounded).all() or np.abs(rounded).max(initial=0) >= 2**31:
        return None
    return rounded.astype(np.int32), nodes
