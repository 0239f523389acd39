"""Inputs for a model nobody gave inputs for: seeded, in the range that what reads them allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.nodes import constant, shape_of

SMALL = 3
"""Integers that nothing bounds are no larger: tables, masks and lengths that nobody sees hold such."""


@dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, both included."""

    low: float
    high: float

    def and_(self, other: Range | None) -> Range:
        """What both allow; this one where they have nothing in common."""
        if other is None or max(self.low, other.low) > min(self.high, other.high):
            return self
        return Range(max(self.low, other.low), min(self.high, other.high))

    def before(self, factor: float, shift: float) -> Range | None:
        """The values x for which x * factor + shift lies in this range."""
        if not factor:
            return None
        ends = sorted(((self.low - shift) / factor, (self.high - shift) / factor))
        return Range(ends[0], ends[1])


EXACT = 1 << 53
"""Integers up to here are numbers of float64."""

INTEGERS = frozenset(kind for kind in ir.DataType if kind.is_integer())

JOINING = frozenset({"Concat", "Max", "Min", "Where"})
"""Operators whose results are values of all operands."""

MOVING = JOINING | {
    *("Cast", "Ceil", "Expand", "Floor", "Gather", "Identity", "ReduceMax", "ReduceMin", "Reshape", "Round", "Slice"),
    *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}
"""Operators whose results are values of the first operand."""


def seeded_inputs(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a normalised model: floats are normal, unless they become indices.

    Integers and booleans cover the range that their uses allow: indices lie below their dimension, lengths within
    theirs, divisors are not zero.
    """
    rng = np.random.default_rng(seed)
    found: dict[ir.Value, Range | None] = {}
    for node in reversed(model.graph):
        found |= {value: _allowed(value, found) for value in node.outputs}
    return {str(value.name): _drawn(rng, value, _allowed(value, found)) for value in model.graph.inputs}


def _drawn(rng: np.random.Generator, value: ir.Value, allowed: Range | None) -> np.ndarray:
    shape = shape_of(value)
    assert value.dtype is not None
    dtype = value.dtype.numpy()
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind not in "iu":
        if allowed is None:
            return rng.standard_normal(shape).astype(dtype)
        return rng.uniform(allowed.low, allowed.high, shape).astype(dtype)
    limits = np.iinfo(dtype)
    usual = Range(limits.min, limits.max) if dtype.itemsize == 1 else Range(0, SMALL)
    span = allowed or usual
    low, high = max(int(np.ceil(span.low)), limits.min), min(int(np.floor(span.high)), limits.max)
    return rng.integers(low, max(low, high), shape, dtype=np.int64, endpoint=True).astype(dtype)


def _allowed(value: ir.Value, found: Mapping[ir.Value, Range | None]) -> Range | None:
    """What every reader of `value` allows, by what is found of what they compute; None where none bounds it."""
    result: Range | None = None
    for use in value.uses():
        bound = _of_use(use.node, use.idx, found)
        if bound is not None:
            result = bound.and_(result)
    return result


def _of_use(node: ir.Node, at: int, found: Mapping[ir.Value, Range | None]) -> Range | None:
    """What operand `at` of `node` may hold."""
    index = _index(node, at)
    if index is not None:
        return index
    if node.op_type in ("Div", "Mod") and at == 1:
        return Range(1, SMALL)
    if node.op_type == "Pow" and at == 1:
        return Range(0, SMALL)
    if node.op_type == "Pow" and node.outputs[0].dtype in INTEGERS:
        return _base_of(node, found.get(node.outputs[0]))
    if node.op_type == "ReduceProd" and node.outputs[0].dtype in INTEGERS:
        return Range(0, 1)
    if node.op_type == "BitShift" and at == 1:
        return Range(0, 7)
    after = found.get(node.outputs[0]) if node.outputs else None
    if after is None:
        return None
    if node.op_type in (JOINING if at or node.op_type == "Where" else MOVING):
        return None if node.op_type == "Where" and not at else after
    scalar = _other(node, at)
    if scalar is None:
        return None
    match node.op_type:
        case "Add":
            return after.before(1.0, scalar)
        case "Sub":
            return after.before(1.0, -scalar) if at == 0 else after.before(-1.0, scalar)
        case "Mul":
            return after.before(scalar, 0.0)
        case "Div":
            return after.before(1.0 / scalar, 0.0) if scalar and at == 0 else None
        case _:
            return None


def _base_of(power: ir.Node, after: Range | None) -> Range:
    """Numbers whose power is what its readers allow, and exact in the float that ONNX Runtime computes it in."""
    limits = np.iinfo(power.outputs[0].dtype.numpy())  # type: ignore[union-attr]
    held = Range(max(limits.min, -EXACT), min(limits.max, EXACT)).and_(after)
    exponent = _other(power, 0)
    most = min(held.high, -held.low) if held.low < 0 else held.high
    largest = float(int(max(most, 0.0) ** (1 / max(SMALL if exponent is None else exponent, 1.0))))
    return Range(-largest if held.low < 0 else 0.0, largest)


def _other(node: ir.Node, at: int) -> float | None:
    """The other operand, where it is one constant number."""
    array = constant(node.inputs[1 - at]) if len(node.inputs) == 2 else None
    return float(array.ravel()[0]) if array is not None and array.size == 1 else None


def _index(node: ir.Node, at: int) -> Range | None:
    """The range of an operand that is an index or a length."""
    data = shape_of(node.inputs[0]) if node.inputs and node.inputs[0] is not None else ()
    axis = node.attributes.get_int("axis", 0)
    match node.op_type, at:
        case ("Gather" | "GatherElements" | "ScatterElements" | "Scatter", 1) if data:
            return _below(data[axis])
        case ("GatherND", 1) if data:
            return _below(min(data[node.attributes.get_int("batch_dims", 0) :], default=1))
        case ("ScatterND", 1) if data:
            return _below(min(data))
        case ("OneHot", 0):
            depth = constant(node.inputs[1])
            return None if depth is None else _below(int(depth.ravel()[0]))
        case ("ReverseSequence", 1) if data:
            return Range(1, data[node.attributes.get_int("time_axis", 0)])
        case ("LSTM" | "GRU" | "RNN", 4) if data:
            return Range(1, data[1 if node.attributes.get_int("layout", 0) else 0])
        case ("TensorScatter", 2) if data:
            updates = shape_of(node.inputs[1])
            dimension = node.attributes.get_int("axis", -2)
            return Range(0, max(0, data[dimension] - updates[dimension]))
        case ("RoiAlign", 2) if data:
            return _below(data[0])
        case _:
            return None


def _below(size: int) -> Range:
    return Range(0, max(0, size - 1))
