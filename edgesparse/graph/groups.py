"""Operators whose operands are dequantized in front of them and whose results are quantized behind: integer groups.

The normal form keeps quantization as the file has it, around every operator; where the dot products of a CPU allow, a
group is one op that reads and writes the integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.graph.absorb import only_reader
from edgesparse.graph.activation import activation_of
from edgesparse.graph.quantized import Quantization
from edgesparse.nodes import constant, dtype_of
from edgesparse.numerics import element

BYTES = ("int8", "uint8")
DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
ENDS = (DEQUANTIZE, QUANTIZE)
"""Operators that stand between stored integers and the numbers that they are."""


def between(nodes: Iterable[ir.Node]) -> str:
    """What nodes compute between the ends, such as "Conv+Relu"."""
    return "+".join(node.op_type for node in nodes if node.op_type not in ENDS)


@dataclass(frozen=True, eq=False)
class Operand:
    """What an operator reads through a DequantizeLinear of its own."""

    node: ir.Node
    by: Quantization

    @property
    def value(self) -> ir.Value:
        """The integers."""
        value = self.node.inputs[0]
        assert value is not None
        return value


@dataclass(frozen=True, eq=False)
class Result:
    """What becomes of the output of an operator: clamped to [`low`, `high`], then quantized, or float32 (no `by`)."""

    nodes: tuple[ir.Node, ...]
    output: ir.Value
    by: Quantization | None
    low: float = -np.inf
    high: float = np.inf

    def limits(self) -> tuple[int, int]:
        """The lowest and the highest integer that is stored."""
        low, high = self._stored(self.low), self._stored(self.high)
        return low, max(low, high)

    def _stored(self, bound: float) -> int:
        """The integer that a bound is stored as; in steps of `by` one of large numbers is infinite."""
        assert self.by is not None
        with np.errstate(over="ignore"):
            steps = np.rint(np.float32(bound) / self.by.scale)
        return int(np.clip(steps + float(self.by.zero), *self.by.limits))


@dataclass(frozen=True, eq=False)
class Group:
    """An operator, the DequantizeLinear nodes in front of it and what is behind it."""

    node: ir.Node
    operands: tuple[Operand, ...]
    result: Result

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All of them, in an order in which they can run."""
        return (*(operand.node for operand in self.operands), self.node, *self.result.nodes)

    @property
    def output(self) -> ir.Value:
        """The only value of them that exists at run time."""
        return self.result.output


def dequantized(value: ir.Value | None) -> Operand | None:
    """The operand behind a value that nothing else reads, if it is one of bytes."""
    node = None if value is None else value.producer()
    if node is None or value is None or node.op_type != DEQUANTIZE or only_reader(value) is None:
        return None
    by = quantization_of(node, dtype_of(node.inputs[0]))
    return None if by is None else Operand(node, by)


def result_of(value: ir.Value, taken: Set[ir.Node]) -> Result:
    """What becomes of a value: one Relu or Clip at most, and a QuantizeLinear, as long as nobody else reads between."""
    nodes, bounds, at = list[ir.Node](), (-np.inf, np.inf), value
    reader = only_reader(value)
    bounded = None if reader is None or reader in taken else bounds_of(reader)
    if reader is not None and bounded is not None:
        nodes, bounds, at = [reader], bounded, reader.outputs[0]
        reader = only_reader(at)
    if reader is not None and reader not in taken and reader.op_type == QUANTIZE:
        by = quantization_of(reader, dtype_of(reader.outputs[0]))
        if by is not None and by.scale.size == 1:
            return Result((*nodes, reader), reader.outputs[0], by, *bounds)
    return Result((), value, None)


def bounds_of(node: ir.Node) -> tuple[float, float] | None:
    """Those of a Relu, or of a Clip by constants."""
    found = activation_of(node) if node.op_type in ("Relu", "Clip") else None
    if found is None:
        return None
    low, high = (0.0, np.inf) if found.name == "relu" else found.parameters
    return None if np.isnan(low) or np.isnan(high) else (low, high)


def quantization_of(node: ir.Node, kind: str) -> Quantization | None:
    """What a QuantizeLinear or DequantizeLinear does; None for one by blocks, or of scales or types that no kernel
    takes."""
    scale, zero = constant(node.inputs[1]), np.zeros((), np.int32)
    if node.domain not in ("", "ai.onnx") or kind not in (*BYTES, "int32") or scale is None:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        stored = constant(node.inputs[2])
        if stored is None:
            return None
        zero = stored.astype(np.int32)
    if scale.dtype != np.float32 or node.attributes.get_int("block_size", 0) != 0:
        return None
    if scale.size == 1:
        return Quantization(element(kind), scale.reshape(()), zero.reshape(-1)[:1].reshape(()))
    return Quantization(element(kind), scale.reshape(-1), np.broadcast_to(zero.reshape(-1), scale.size))
