"""A random graph that grows node by node; ONNX Runtime computes each node at once, so that every value is known.

A node that ONNX Runtime refuses, that makes numbers which are not tame, or that decides near a tie, is not added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError
from tests.fuzz.names import Names
from tests.fuzz.ties import decides_near_a_tie, keeps_exact

SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 33)
MOST_ELEMENTS = 3000
LARGEST = {"float16": 300.0, "float32": 1e4, "float64": 1e4}
DTYPES = (
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
)
JUDGE_LIMIT_S = 20.0
TYPED = {"Constant": -1, "ConstantOfShape": -1, "OneHot": 2, "Where": 1}
"""The input whose type a use of an operator counts for where it is not the first; -1: its output."""


class Untamed(Exception):
    """A node that cannot be judged, and so is not added; the text says why."""


@dataclass(eq=False)
class Value:
    """A value of the graph with what it holds; `maker` is "input", "constant" or an operator."""

    name: str
    array: np.ndarray
    maker: str
    exact: bool = True  # no rounding that another order of computing would do otherwise

    @property
    def dtype(self) -> str:
        return self.array.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def rank(self) -> int:
        return self.array.ndim


@dataclass(frozen=True)
class Cell:
    """One use of an operator: what the table of coverage counts."""

    operator: str
    version: int
    dtype: str
    beside: tuple[str, ...]  # what makes its inputs: "input", "constant" or operators


class Near(Protocol):
    """What an operand is to be made by."""

    def holds(self, value: Value) -> bool:
        """Whether a value is."""

    def make(self, g: Graph, dtype: str, shape: tuple[int, ...], within: tuple[float, float] | None) -> Value | None:
        """A new value that is, or None."""


@dataclass(eq=False)
class Graph:
    """The graph so far.

    Args:
        rank: of new inputs that nobody gives a shape.
        twins: inputs by name with other arrays that hold an index or a divisor which nothing allows.
        truths: what outputs hold by the arithmetic itself, where ONNX Runtime leaves it to the processor.
        near: what the next operand is to be made by.
    """

    rng: np.random.Generator
    opset: int
    names: Names
    rank: int = 2
    square: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    twins: list[tuple[str, np.ndarray]] = field(default_factory=list)
    truths: dict[str, np.ndarray] = field(default_factory=dict)
    near: Near | None = None
    _hidden: list[Value] = field(default_factory=list)

    # Draws.

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.rng.random() < probability)

    def choose(self, items: Sequence[Any]) -> Any:
        """One of the items."""
        return items[int(self.rng.integers(len(items)))]

    def size(self) -> int:
        """An extent of an axis."""
        return int(self.choose(SIZES))

    def shape(self, rank: int | None = None, most: int = MOST_ELEMENTS) -> tuple[int, ...]:
        """A shape; in square graphs all axes are alike, so that they can be confused."""
        rank = self.rank if rank is None else rank
        while True:
            side = self.size()
            sizes = tuple(side if self.square else self.size() for _ in range(rank))
            if prod(sizes) <= most:
                return sizes

    def axis(self, rank: int, negative: bool = True) -> int:
        """An axis, from either end where operators of this opset take that."""
        low = -rank if negative and self.opset >= 11 else 0
        return int(self.rng.integers(low, max(rank, low + 1)))

    def axes(self, rank: int, least: int = 1) -> list[int]:
        """Some different axes, from either end."""
        count = int(self.rng.integers(least, rank + 1)) if rank >= least else 0
        chosen = self.rng.permutation(rank)[:count]
        return [int(a) - (rank if self.opset >= 11 and self.chance(0.4) else 0) for a in chosen]

    def array(self, dtype: str, shape: Sequence[int], within: tuple[float, float] | None = None) -> np.ndarray:
        """Tame numbers: floats of small size, integers that small types hold."""
        kind = np.dtype(dtype).kind
        if kind == "b":
            return self.rng.random(tuple(shape)) < 0.5
        if kind == "f":
            low, high = within or (-2.0, 2.0)
            return self.rng.uniform(low, high, tuple(shape)).astype(dtype)
        low, high = within or ((0, 7) if kind == "u" else (-5, 6))
        return self.rng.integers(int(low), int(high), tuple(shape)).astype(dtype)

    # Values.

    def input(self, array: np.ndarray) -> Value:
        """A new input of the graph."""
        return self._value("input", array)

    def constant(self, array: Any, dtype: str | None = None) -> Value:
        """A new constant."""
        return self._value("constant", np.asarray(array, dtype))

    def new(self, dtype: str, shape: Sequence[int] | None = None, within: tuple[float, float] | None = None) -> Value:
        """A new input, or now and then a constant."""
        array = self.array(dtype, self.shape() if shape is None else shape, within)
        return self.constant(array) if self.chance(0.15) else self.input(array)

    def operand(
        self,
        dtype: str,
        shape: Sequence[int] | None = None,
        *,
        ranks: Sequence[int] | None = None,
        within: tuple[float, float] | None = None,
        fits: Callable[[Value], bool] = lambda value: True,
        otherwise: Callable[[], Sequence[int]] | None = None,
    ) -> Value:
        """A value of the graph that fits, the latest before others, else a new one.

        Args:
            otherwise: draws the shape of a new one.
        """

        def usable(value: Value) -> bool:
            if value.dtype != dtype or value.array.size == 0 or value.name in self.truths:
                return False
            if shape is not None and value.shape != tuple(shape):
                return False
            if ranks is not None and value.rank not in ranks:
                return False
            if within is not None and not ((value.array >= within[0]) & (value.array <= within[1])).all():
                return False
            return fits(value)

        near, self.near = self.near, None
        found = [value for value in self.values if usable(value)]
        close = [value for value in found if near is not None and near.holds(value)]
        if close:
            return self.choose(close)
        if near is None and found and self.chance(0.85):
            computed = [value for value in found if value.maker not in ("input", "constant")]
            return computed[-1] if computed and self.chance(0.7) else self.choose(found)
        if shape is None and otherwise is not None:
            shape = otherwise()
        elif shape is None:
            rank = self.rank if ranks is None or self.rank in ranks else self.choose(list(ranks))
            shape = self.shape(rank)
        made = near.make(self, dtype, tuple(shape), within) if near is not None else None
        return made if made is not None and usable(made) else self.new(dtype, shape, within)

    def parameter(self, array: Any, dtype: str | None = None) -> Value:
        """A small tensor that says how an operator works; nothing else reads it."""
        value = self._value("constant", np.asarray(array, dtype))
        self.values.remove(value)
        self._hidden.append(value)
        return value

    def every_value(self) -> list[Value]:
        """All values, those that only operators read too."""
        return [*self.values, *self._hidden]

    def _value(self, maker: str, array: np.ndarray, exact: bool = True) -> Value:
        value = Value(self.names.value(), np.ascontiguousarray(array).reshape(np.shape(array)), maker, exact)
        self.values.append(value)
        return value

    # Nodes.

    def apply(
        self, op: str, *inputs: Value | None, outputs: int = 1, skip: Sequence[int] = (), **attributes: Any
    ) -> list[Value]:
        """Add a node and compute it.

        Args:
            skip: outputs that are left out.

        Raises: Untamed: it is not added.
        """
        made = [f"\0{at}" if at not in skip else "" for at in range(outputs)]
        given = [value.name if value else "" for value in inputs]
        while given and not given[-1]:
            given.pop()
        node = helper.make_node(op, given, made, **{k: v for k, v in attributes.items() if v is not None})
        arrays = _compute(node, [value for value in inputs if value], self.opset)
        if any(array.size == 0 for array in arrays):
            raise Untamed("a value without elements")
        self._require_tame(node, inputs, arrays)
        exact = all(value is None or value.exact for value in inputs) and keeps_exact(op, arrays)
        named = [name for name in made if name]
        results = [self._value(op, array, exact) for _, array in zip(named, arrays, strict=True)]
        final = {old: value.name for old, value in zip(named, results, strict=True)}
        node.output[:] = [final.get(name, "") for name in made]
        node.name = self.names.node(results[0].name)
        self.nodes.append(node)
        typed = ([*inputs, results[0]])[TYPED.get(op, 0)] or results[0]
        beside = tuple(value.maker for value in inputs if value and value not in self._hidden)
        self.cells.append(Cell(op, version_of(op, self.opset), typed.dtype, beside))
        return results

    def _require_tame(self, node: onnx.NodeProto, inputs: Sequence[Value | None], arrays: list[np.ndarray]) -> None:
        for array in arrays:
            if array.size > 4 * MOST_ELEMENTS:
                raise Untamed("too many elements")
            if array.dtype.kind == "f":
                limit = LARGEST[array.dtype.name]
                wild = any(v is not None and v.dtype[0] == "f" and not np.isfinite(v.array).all() for v in inputs)
                if not wild and not (np.isfinite(array).all() and np.abs(array).max(initial=0) < limit):
                    raise Untamed("numbers that are too large or none")
        if node.op_type == "ReduceProd" and arrays[0].dtype.kind in "iu" and inputs[0] is not None:
            factors = np.maximum(np.abs(inputs[0].array.astype(np.float64)), 1)
            if np.prod(factors) > np.iinfo(arrays[0].dtype).max:
                raise Untamed("a product that its type does not hold, which ONNX Runtime cuts off")
        known = [value.array if value else None for value in inputs]
        if not all(value is None or value.exact for value in inputs) and decides_near_a_tie(node, known):
            raise Untamed("a decision near a tie")


def _compute(node: onnx.NodeProto, inputs: Sequence[Value], opset: int) -> list[np.ndarray]:
    held = {value.name: value for value in inputs}
    constants = [numpy_helper.from_array(v.array, v.name) for v in held.values() if v.maker == "constant"]
    given = [
        helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.array.dtype), v.shape)
        for v in held.values()
        if v.maker != "constant"
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    proto = helper.make_model(
        helper.make_graph([node], "node", given, results, constants),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    feeds = {v.name: v.array for v in held.values() if v.maker != "constant"}
    try:
        with np.errstate(all="ignore"):
            return list(reference.evaluate(proto, feeds, limit_s=JUDGE_LIMIT_S).values())
    except OnnxRuntimeError as err:
        raise Untamed(f"ONNX Runtime: {err}") from err


@cache
def version_of(op: str, opset: int) -> int:
    """The version of an operator that an opset holds; 0 where it has none."""
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return 0
    return 0 if schema.deprecated else int(schema.since_version)
