"""A value of a wanted type and shape, made by an operator of a wanted family, for what is to stand next to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.fuzz.graph import DTYPES, Graph, Untamed, Value
from tests.fuzz.rules.elementwise import require
from tests.fuzz.rules.registry import RULES

Range = tuple[float, float]
Maker = Callable[[Graph, str, tuple[int, ...], Range | None], list[Value]]
"""Adds the operator; a range that is given holds for what it makes."""

FLOATS = frozenset({"float32", "float16", "float64"})
WIDE = frozenset({"int32", "int64", "uint32", "uint64"})
BYTES = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Near:
    """What the next operand is to be: an "input", a "constant", or made by an operator of a family."""

    family: str

    def holds(self, value: Value) -> bool:
        """Whether a value is that already."""
        return family_of(value.maker) == self.family

    def make(self, g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> Value | None:
        """A new value that is; None where no operator of the family makes one."""
        if self.family in ("input", "constant"):
            array = g.array(dtype, shape, within)
            return g.input(array) if self.family == "input" else g.constant(array)
        makers = [maker for maker, types in MAKERS[self.family] if dtype in types]
        for at in g.rng.permutation(len(makers)):
            try:
                return makers[int(at)](g, dtype, shape, within)[0]
            except Untamed:
                continue
        return None


def family_of(maker: str) -> str:
    """What a maker of values counts as."""
    return RULES[maker].family if maker in RULES else maker


def neighbours(dtypes: Sequence[str], opset: int) -> Iterator[str]:
    """The families that make a value of one of some types in an opset; anything is an input or a constant."""
    yield from ("input", "constant")
    for family, makers in MAKERS.items():
        if opset >= SINCE.get(family, 0) and any(dtype in types for _, types in makers for dtype in dtypes):
            yield family


def _larger(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    return g.apply("Max", g.new(dtype, shape, within), g.new(dtype, shape, within))


def _chosen(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    return g.apply("Where", g.new("bool", shape), g.new(dtype, shape, within), g.new(dtype, shape, within))


def _negated(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    low, high = within or (-2.0, 2.0)
    return g.apply("Neg", g.new(dtype, shape, (-high, -low)))


def _not(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    return g.apply("Not", g.new(dtype, shape))


def _transposed(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    require(bool(shape), "no axes to move")
    perm = [int(axis) for axis in g.rng.permutation(len(shape))]
    before = [0] * len(shape)
    for at, axis in enumerate(perm):
        before[axis] = shape[at]
    return g.apply("Transpose", g.new(dtype, before, within), perm=perm)


def _reshaped(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    return g.apply("Reshape", g.new(dtype, (int(np.prod(shape)),), within), g.parameter(shape, "int64"))


def _gathered(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    require(bool(shape), "no axis to gather along")
    rows = g.parameter(g.rng.integers(0, 3, shape[:1]), "int64")
    return g.apply("Gather", g.new(dtype, (3, *shape[1:]), within), rows, axis=0)


def _largest(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    x = g.new(dtype, (*shape, g.choose([2, 3, 8])), within)
    if g.opset < 18:
        return g.apply("ReduceMax", x, axes=[len(shape)], keepdims=0)
    return g.apply("ReduceMax", x, g.parameter([len(shape)], "int64"), keepdims=0)


def _place(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    return g.apply("ArgMax", g.new("int32", (*shape, 3)), axis=len(shape), keepdims=0)


def _multiplied(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    inner, outputs = g.choose([2, 3, 8]), shape[-1] if shape else 1
    weight = g.array(dtype, (inner, outputs), (-0.5, 0.5) if dtype in FLOATS else None)
    if within is not None:  # each output takes one input as it is
        weight = np.eye(inner, dtype=dtype)[:, g.rng.integers(0, inner, outputs)]
    constant = g.constant(weight if shape else weight[:, 0])
    return g.apply("MatMul", g.new(dtype, (*shape[:-1], inner), within), constant)


def _dequantized(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    step = 0.0625
    low, high = within or (-2.0, 2.0)
    codes = g.new("int8", shape, (np.ceil(max(low, -7) / step), np.floor(min(high, 7) / step) + 1))
    return g.apply("DequantizeLinear", codes, g.parameter(step, dtype))


def _quantized(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    low, high = within or (0.0, 7.0)
    zero = g.parameter(0, dtype)
    return g.apply(
        "QuantizeLinear", g.new("float32", shape, (low + 0.1, high - 0.6)), g.parameter(1.0, "float32"), zero
    )


def _multiplied_integers(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    require(bool(shape), "ONNX Runtime gives a product of vectors an axis")
    weight = g.constant(g.array("int8", (3, shape[-1])))
    return g.apply("MatMulInteger", g.new("int8", (*shape[:-1], 3)), weight)


def _pooled(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    require(3 <= len(shape) <= 5, "images have one to three dimensions")
    kernel = [g.choose([1, 2, 3]) for _ in shape[2:]]
    before = [size + reach - 1 for size, reach in zip(shape[2:], kernel, strict=True)]
    return g.apply("MaxPool", g.new(dtype, (*shape[:2], *before), within), kernel_shape=kernel)


def _resized(g: Graph, dtype: str, shape: tuple[int, ...], within: Range | None) -> list[Value]:
    require(bool(shape), "no axis to resize")
    before = [*shape[:-1], g.choose([1, 2, 5])]
    scales = [*(1.0 for _ in shape[1:]), shape[-1] / before[-1]]
    way = {"mode": "nearest"}
    x = g.new(dtype, before, within)
    if g.opset < 10:
        return g.apply("Upsample", x, g.parameter(scales, "float32"), **way)
    if g.opset == 10:
        return g.apply("Resize", x, g.parameter(scales, "float32"), **way)
    nothing = g.parameter(np.zeros(0, np.float32))
    return g.apply("Resize", x, nothing, nothing, g.parameter(shape, "int64"), **way)


EVERY = frozenset(DTYPES)
MAKERS: dict[str, tuple[tuple[Maker, frozenset[str]], ...]] = {
    "elementwise": ((_larger, EVERY - {"bool"}), (_chosen, EVERY), (_negated, FLOATS), (_not, frozenset({"bool"}))),
    "moving": ((_transposed, EVERY), (_reshaped, EVERY), (_gathered, EVERY)),
    "axis": ((_largest, FLOATS | BYTES | {"int32", "int64"}), (_place, frozenset({"int64"}))),
    "weighted": ((_multiplied, FLOATS | WIDE),),
    "quantized": (
        (_dequantized, frozenset({"float32", "float16"})),
        (_quantized, BYTES | {"int16", "uint16"}),
        (_multiplied_integers, frozenset({"int32"})),
    ),
    "window": ((_pooled, FLOATS | BYTES), (_resized, FLOATS | BYTES | {"int32"})),
}
"""By family: makers, and the types that they make."""

SINCE = {"quantized": 10}
"""The opset that has a family's first operator."""
