"""Which groups run on integers, and as what."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.graph.groups import BYTES, Group, dequantized, result_of
from edgesparse.graph.quantized import Quantization
from edgesparse.nodes import constant, shape_of
from edgesparse.numerics import QUAD_I8, QUAD_U8, Element, element

TABLED = frozenset(
    {"Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh"}
)
"""Functions of one number, of which there are 256."""

POOLED = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})
SUMMED = frozenset({"Add", "Mul"})
FLIP = 128
"""What flipping the highest bit of a byte adds, as a number of the other signedness."""


@dataclass(frozen=True, eq=False)
class Integer:
    """A group that runs on the integers in quads; what it computes, its node says."""

    group: Group

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes that are computed."""
        return self.group.nodes

    @property
    def output(self) -> ir.Value:
        """What is left at run time."""
        return self.group.output


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
    return Integer(group) if fits(group) else None


def _is_bytes(by: Quantization | None) -> bool:
    return by is not None and by.element.name in BYTES and by.scale.size == 1


def _of_one(group: Group) -> bool:
    """A function of one number, of which there are 256: its other operands are constants."""
    return len(group.operands) == 1 and all(constant(value) is not None for value in group.node.inputs[1:] if value)


def _of_two(group: Group) -> bool:
    """Two operands of one shape, or one of them the same all over space."""
    if len(group.operands) != 2:
        return False
    whole, shapes = shape_of(group.output), [shape_of(operand.value) for operand in group.operands]

    def fits(shape: tuple[int, ...]) -> bool:
        return shape == whole or (len(shape) == len(whole) > 2 and shape == whole[:2] + (1,) * (len(whole) - 2))

    return whole in shapes and all(map(fits, shapes))


def _pool(group: Group) -> bool:
    """Over at most two axes of images, without dilations."""
    get, rank = group.node.attributes, len(shape_of(group.output))
    return len(group.operands) == 1 and rank in (3, 4) and set(get.get_ints("dilations", (1,))) <= {1}


def _concat(group: Group) -> bool:
    """Of channels, of computed values alone."""
    return len(group.operands) == len(group.node.inputs) and group.node.attributes.get_int("axis", 0) == 1


_FITS: dict[str, Callable[[Group], bool]] = {
    **dict.fromkeys(sorted(TABLED), _of_one),
    **dict.fromkeys(sorted(POOLED), _pool),
    **dict.fromkeys(sorted(SUMMED), _of_two),
    "Concat": _concat,
}
