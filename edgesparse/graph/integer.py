"""Which groups run on integers, and as what."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.graph.byte_maps import Affine, affine_of
from edgesparse.graph.groups import BYTES, Group, between, dequantized, result_of
from edgesparse.graph.quantized import Quantization
from edgesparse.graph.windows import unrolls, window_of
from edgesparse.nodes import constant, ints, shape_of
from edgesparse.numerics import QUAD_I8, QUAD_U8, Element, element

MAPPED = frozenset(["Clip", "Relu"])
"""Functions of one number that are a multiplication of what is stored."""

FLIP = 128
"""What flipping the highest bit of a byte adds, as a number of the other signedness."""


@dataclass(frozen=True, eq=False)
class Integer:
    """A group that runs on the integers in quads; what it computes, its node says, or a function of one number."""

    group: Group
    function: Affine | None = None

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes that are computed."""
        return self.group.nodes

    @property
    def output(self) -> ir.Value:
        """What is left at run time."""
        return self.group.output

    @property
    def op(self) -> str:
        """What is computed, such as "Add+Relu"."""
        return between(self.nodes)


def flipped(kind: str, dotted: Element) -> bool:
    """Whether bytes of that type lie flipped in quads, since dot products take the other signedness."""
    return (kind == "uint8" and dotted == QUAD_I8) or (kind == "int8" and dotted == QUAD_U8)


def stored(by: Quantization, dotted: Element) -> Quantization:
    """How real numbers are stored in the bytes of quads."""
    if not flipped(by.element.name, dotted):
        return by
    other = element("int8" if by.element.name == "uint8" else "uint8")
    return Quantization(other, by.scale, by.zero + (FLIP if other.name == "uint8" else -FLIP))


def group_of(node: ir.Node, taken: Set[ir.Node]) -> Group | None:
    """The group around a node whose computed operands are all dequantized; None where it is none of bytes."""
    operands = tuple(dequantized(value) for value in node.inputs if value is not None and constant(value) is None)
    if not operands or any(operand is None or operand.node in taken for operand in operands):
        return None
    if len(node.outputs) != 1 or node.domain not in ("", "ai.onnx"):
        return None
    return Group(node, operands, result_of(node.outputs[0], taken))  # type: ignore[arg-type]


def integer_of(node: ir.Node, taken: Set[ir.Node]) -> Integer | None:
    """The op that a node between quantized values is, but for weighted layers; None where it runs in floats."""
    fits = _FITS.get(node.op_type)
    group = None if fits is None else group_of(node, taken)
    if fits is None or group is None or not all(map(_is_bytes, (group.result.by, *(o.by for o in group.operands)))):
        return None
    if not shape_of(group.output) or prod(shape_of(group.output)) == 0:
        return None
    if node.op_type in MAPPED:
        function = affine_of(group) if fits(group) else None
        return None if function is None else Integer(group, function)
    return Integer(group) if fits(group) else None


def _is_bytes(by: Quantization | None) -> bool:
    return by is not None and by.element.name in BYTES and by.scale.size == 1


def _of_one(group: Group) -> bool:
    """A function of one number: its other operands are constants."""
    return len(group.operands) == 1 and all(constant(value) is not None for value in group.node.inputs[1:] if value)


def _of_two(group: Group) -> bool:
    """Two operands of one shape."""
    return len(group.operands) == 2 and len({shape_of(operand.value) for operand in group.operands}) == 1


def _pool(group: Group) -> bool:
    """Over the axes of images, without padding where it is a mean."""
    node, rank = group.node, len(shape_of(group.output))
    if len(group.operands) != 1 or rank != len(shape_of(group.operands[0].value)) or rank < 3:
        return False
    window = window_of(node, ints(node, "kernel_shape"))
    if window is None or not unrolls(window):
        return False
    if node.op_type == "MaxPool":
        return _same(group) and set(window.dilations) == {1}
    reach = [
        (size - 1) * stride + kernel
        for size, stride, kernel in zip(
            (window.out_height, window.out_width), window.strides, window.kernel, strict=True
        )
    ]
    return window.pads == (0, 0) and reach[0] <= window.height and reach[1] <= window.width


def _global(group: Group) -> bool:
    """Over all axes of an image, which stay as ones."""
    node, (operand, *others) = group.node, group.operands
    shape = shape_of(operand.value)
    return not others and len(shape) > 2 and shape_of(node.outputs[0]) == shape[:2] + (1,) * (len(shape) - 2)


def _same(group: Group) -> bool:
    """Whether the result is stored as its operand is."""
    by, result = group.operands[0].by, group.result.by
    assert result is not None
    alike = result.element == by.element and result.scale == by.scale and result.zero == by.zero
    return bool(alike) and not np.isfinite([group.result.low, group.result.high]).any()


_FITS: dict[str, Callable[[Group], bool]] = {
    **dict.fromkeys(sorted(MAPPED), _of_one),
    "Add": _of_two,
    "AveragePool": _pool,
    "GlobalAveragePool": _global,
    "MaxPool": _pool,
    "Mul": _of_two,
    "ReduceMean": _global,
}
