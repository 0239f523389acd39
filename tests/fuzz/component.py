"""One small graph: drawn from a list of operators, closed with outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from tests.fuzz.graph import Cell, Graph, Untamed, Value
from tests.fuzz.names import Names
from tests.fuzz.rules import PATTERNS, RULES, Rule
from tests.fuzz.rules.making import Near

TRIES = 3


@dataclass(frozen=True)
class Wish:
    """What a component should hold: operators in a row, each next to a family, for a type; then a pattern."""

    dtype: str
    uses: tuple[tuple[str, str], ...]
    pattern: str | None = None


@dataclass(frozen=True, eq=False)
class Component:
    """A finished graph.

    `twins` are inputs with arrays that hold an index or divisor which nothing allows; `truths` are outputs that ONNX
    leaves open, by the arithmetic of this project; `denied` are operators that ONNX Runtime would not judge, and why.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]
    shapes: dict[str, np.ndarray]  # every value that a node makes
    outputs: tuple[str, ...]
    cells: tuple[Cell, ...]
    twins: tuple[tuple[str, np.ndarray], ...] = ()
    truths: dict[str, np.ndarray] = field(default_factory=dict)
    denied: tuple[tuple[str, str], ...] = ()


def draw(rng: np.random.Generator, opset: int, wish: Wish, prefix: str, taken: set[str]) -> Component | None:
    """A component, or None where nothing of the wish could be judged."""
    graph = Graph(rng, opset, Names(rng, taken, prefix))
    graph.square = graph.chance(0.2)
    denied = []
    for operator, family in wish.uses:
        why = _try(graph, RULES[operator], operator, wish.dtype, Near(family))
        if why is not None:
            denied.append((operator, why))
    if wish.pattern is not None:
        _try(graph, PATTERNS[wish.pattern], wish.pattern, "float32")
    return _finished(graph, denied) if graph.nodes else None


def _try(graph: Graph, rule: Rule, operator: str, dtype: str, near: Near | None = None) -> str | None:
    """Draw a use; why that did not succeed, or None."""
    why = None
    for _ in range(TRIES):
        graph.rank, graph.near = int(graph.choose(rule.ranks)), near
        try:
            rule.draw(graph, operator, dtype)
        except Untamed as err:
            why = str(err)
            if "find an implementation" in why:
                break
        else:
            return None
    return why


def _finished(graph: Graph, denied: list[tuple[str, str]]) -> Component:
    read = {name for node in graph.nodes for name in node.input}
    values = {value.name: value for value in graph.every_value()}
    made = [values[name] for node in graph.nodes for name in node.output if name]
    outputs = [v for v in made if v.name not in read or v in graph.outputs or graph.chance(0.08)]
    truths = {name: array for name, array in graph.truths.items() if any(v.name == name for v in outputs)}
    kept = [v for v in values.values() if v.maker in ("input", "constant") and (v.name in read or graph.chance(0.03))]
    inputs = {v.name: v.array for v in kept if v.maker == "input"}
    if graph.chance(0.08) and any(v.array.size for v in kept):
        outputs.insert(int(graph.rng.integers(len(outputs) + 1)), graph.choose([v for v in kept if v.array.size]))
    return Component(
        nodes=tuple(graph.nodes),
        inputs=inputs,
        constants={v.name: v.array for v in kept if v.maker == "constant"},
        shapes={v.name: v.array for v in made},
        outputs=tuple(_unique(outputs)),
        cells=tuple(graph.cells),
        twins=tuple(twin for twin in graph.twins if twin[0] in inputs and twin[0] in _computed_with(graph, outputs)),
        truths=truths,
        denied=tuple(denied),
    )


def _computed_with(graph: Graph, outputs: list[Value]) -> set[str]:
    """The values whose elements decide an output; those of which only a shape or a type is read may go."""
    found = {value.name for value in outputs}
    for node in reversed(graph.nodes):
        if found & set(node.output) and node.op_type not in ("EyeLike", "Shape", "Size"):
            found |= set(node.input[:1] if node.op_type == "CastLike" else node.input)
    return found


def _unique(values: list[Value]) -> list[str]:
    return list(dict.fromkeys(value.name for value in values))
