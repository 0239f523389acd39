"""Which uses of operators were judged how often: a table kept over runs, which the generator fills where it is empty.

Two tables together say it: operator x version x type, and operator x what makes its first input.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from tests.fuzz.component import Wish
from tests.fuzz.graph import DTYPES, TYPED, Cell, version_of
from tests.fuzz.rules import PATTERNS, RULES

ENOUGH = 5
GIVE_UP = 4  # draws of a cell, none of which ONNX Runtime judged
OLDEST = 7
FAMILIES = ("input", "constant", *sorted({rule.family for rule in RULES.values()}))

Use = tuple[str, int, str]  # operator, version, type
Pair = tuple[str, str]  # operator, family of what makes its first input


def family_of(maker: str) -> str:
    """What a maker of values counts as."""
    return RULES[maker].family if maker in RULES else maker


class Coverage:
    """The table.

    Args:
        newest: the newest opset to draw.
        path: where it is kept over runs.
        only: operators, patterns and kinds of invalid models to draw, where not all are.
    """

    def __init__(self, newest: int, path: Path | None = None, only: Collection[str] = ()) -> None:
        self.newest = newest
        self._only = frozenset(only)
        self._path = path
        self.uses: Counter[Use] = Counter()
        self.pairs: Counter[Pair] = Counter()
        self.cells: Counter[tuple[str, int, str, str]] = Counter()
        self.denied: Counter[Use] = Counter()
        self.drawn: Counter[str] = Counter()  # operators, patterns and kinds of invalid models, in this run
        self.why: dict[str, str] = {}
        if path is not None and path.exists():
            self._read(json.loads(path.read_text()))

    def record(self, cells: tuple[Cell, ...]) -> None:
        """Count uses that were judged, or refused by an error of ours."""
        for cell in cells:
            family = family_of(cell.beside)
            self.uses[cell.operator, cell.version, cell.dtype] += 1
            self.pairs[cell.operator, family] += 1
            self.cells[cell.operator, cell.version, cell.dtype, family] += 1

    def deny(self, operator: str, opset: int, dtype: str, why: str) -> None:
        """Count a draw that ONNX Runtime would not judge."""
        use = (operator, version_of(operator, opset), dtype)
        self.denied[use] += GIVE_UP if f"implementation for {operator}(" in why else 1
        self.why["/".join(map(str, use))] = why[:200]

    def wish(self, rng: np.random.Generator, opset: int) -> Wish:
        """What the table lacks at an opset: a type, and operators for it in a row."""
        here = self._at[opset]
        lacking = {dtype: sum(self._lacks(use) for use in uses) + 0.5 for dtype, uses in here.items()}
        dtype = str(rng.choice(list(lacking), p=_shares(list(lacking.values()))))
        operators: list[str] = []
        beside = "input"
        for _ in range(int(rng.integers(2, 6))):
            want = [self._want(use, beside) for use in here[dtype]]
            use = here[dtype][int(rng.choice(len(want), p=_shares(want)))]
            operators.append(use[0])
            beside = RULES[use[0]].family
        self.drawn.update(operators)
        return Wish(dtype, tuple(operators), self.least(PATTERNS) if rng.random() < 0.3 else None)

    def least(self, names: Iterable[str]) -> str | None:
        """What was drawn least of some patterns or kinds of invalid models; None where they are not asked for."""
        name = min(self._chosen(names), key=lambda name: self.drawn[name], default=None)
        self.drawn.update([name] if name else [])
        return name

    def _chosen(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self._only or name in self._only]

    def opset(self, rng: np.random.Generator) -> int:
        """An opset, rather one where much is lacking."""
        lacking = [sum(map(self._lacks, self._uses_at(opset))) + 5.0 for opset in self._at]
        return int(rng.choice(list(self._at), p=_shares(lacking)))

    def lacking(self) -> tuple[list[Use], list[Use]]:
        """Uses that were judged less than ENOUGH times, and those that ONNX Runtime never judged."""
        every = sorted({use for opset in self._at for use in self._uses_at(opset)})
        unjudged = [use for use in every if not self.uses[use] and self.denied[use] >= GIVE_UP]
        return [use for use in every if self.uses[use] < ENOUGH and use not in set(unjudged)], unjudged

    def total(self) -> int:
        """Uses that the table has room for."""
        return len({use for opset in self._at for use in self._uses_at(opset)})

    def summary(self) -> str:
        """A line on how full the table is."""
        lacking, unjudged = self.lacking()
        full = self.total() - len(lacking) - len(unjudged)
        wanted = [(operator, family) for operator in RULES for family in FAMILIES]
        pairs = sum(self.pairs[pair] >= ENOUGH for pair in wanted)
        return (
            f"operator x version x type: {full} of {self.total()} cells hold {ENOUGH} or more, {len(lacking)} less, "
            f"{len(unjudged)} ONNX Runtime does not run; operator x neighbour: {pairs} of {len(wanted)}; "
            f"{len(self.cells)} different cells of all four"
        )

    def table(self) -> str:
        """The table by operator and version: how often each type was judged."""
        lines = [f"{'operator':28s} {'since':>5s} " + " ".join(f"{name:>7s}" for name in DTYPES)]
        rows = sorted({use[:2] for use in self.uses} | {use[:2] for o in self._at for use in self._uses_at(o)})
        for operator, version in rows:
            counts = [self.uses[operator, version, name] for name in DTYPES]
            lines.append(f"{operator:28s} {version:5d} " + " ".join(f"{n or '.':>7}" for n in counts))
        lines.append(f"\n{'operator':28s} " + " ".join(f"{name[:8]:>8s}" for name in FAMILIES))
        for operator in sorted(RULES):
            counts = [self.pairs[operator, family] for family in FAMILIES]
            lines.append(f"{operator:28s} " + " ".join(f"{n or '.':>8}" for n in counts))
        return "\n".join([*lines, self.summary()])

    def json(self) -> dict[str, object]:
        """All counts, for a file."""
        return {
            "uses": [[*use, n] for use, n in sorted(self.uses.items())],
            "pairs": [[*pair, n] for pair, n in sorted(self.pairs.items())],
            "cells": [[*cell, n] for cell, n in sorted(self.cells.items())],
            "denied": [[*use, n] for use, n in sorted(self.denied.items())],
            "why": self.why,
        }

    def save(self) -> None:
        """Keep the table for the next run."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.json()))

    def _read(self, kept: dict) -> None:  # type: ignore[type-arg]
        for name in ("uses", "pairs", "cells", "denied"):
            getattr(self, name).update({tuple(key): n for *key, n in kept[name]})
        self.why.update(kept["why"])

    @cached_property
    def _at(self) -> dict[int, dict[str, list[Use]]]:
        found: dict[int, dict[str, list[Use]]] = {}
        for opset in range(OLDEST, self.newest + 1):
            found[opset] = {dtype: [] for dtype in DTYPES}
            for operator in self._chosen(RULES):
                for dtype in types_of(operator, opset):
                    found[opset][dtype].append((operator, version_of(operator, opset), dtype))
            found[opset] = {dtype: uses for dtype, uses in found[opset].items() if uses}
        return {opset: uses for opset, uses in found.items() if uses}

    def _uses_at(self, opset: int) -> list[Use]:
        return [use for uses in self._at[opset].values() for use in uses]

    def _lacks(self, use: Use) -> float:
        if not self.uses[use] and self.denied[use] >= GIVE_UP:
            return 0.0
        return float(max(0, ENOUGH - self.uses[use]))

    def _want(self, use: Use, beside: str) -> float:
        """How much a use is wanted: operators that were drawn least come first."""
        lacking = 2 * self._lacks(use) + self._lacks_pair((use[0], beside)) + 0.2
        return lacking / (1 + self.drawn[use[0]]) ** 2

    def _lacks_pair(self, pair: Pair) -> float:
        return float(max(0, ENOUGH - self.pairs[pair]))


def types_of(operator: str, opset: int) -> list[str]:
    """The types of elements that an operator is defined for, of those that edgesparse compiles."""
    if not version_of(operator, opset):
        return []
    schema = onnx.defs.get_schema(operator, opset, "")
    at = TYPED.get(operator, 0)
    formal = schema.outputs[0] if at < 0 else schema.inputs[at]
    names = {"float": "float32", "double": "float64"}
    texts = {text.removeprefix("tensor(").removesuffix(")") for text in formal.types}
    return [dtype for dtype in DTYPES if dtype in {names.get(text, text) for text in texts}]


def _shares(weights: list[float]) -> np.ndarray:
    array = np.array(weights)
    return array / array.sum()
