"""The table of rules, by operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.graph import Graph

Draw = Callable[[Graph, str, str], None]
"""Adds one use of an operator to a graph, for a type of elements."""


@dataclass(frozen=True)
class Rule:
    """How uses of an operator are drawn.

    `family` is what it counts as where it is next to another; `ranks` are those of inputs it likes.
    """

    draw: Draw
    family: str
    ranks: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


RULES: dict[str, Rule] = {}
PATTERNS: dict[str, Rule] = {}
"""Several operators in a row that the compiler knows as one, and what only looks like it."""


def rule(operators: str, family: str, *, ranks: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Callable[[Draw], Draw]:
    """Register a rule for the operators in a text."""

    def register(draw: Draw) -> Draw:
        for operator in operators.split():
            RULES[operator] = Rule(draw, family, ranks)
        return draw

    return register


def pattern(name: str, *, ranks: tuple[int, ...] = (3,)) -> Callable[[Draw], Draw]:
    """Register a pattern; it is drawn for float32."""

    def register(draw: Draw) -> Draw:
        PATTERNS[name] = Rule(draw, "pattern", ranks=ranks)
        return draw

    return register
