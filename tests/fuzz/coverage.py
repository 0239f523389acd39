"""Which uses of operators were judged how often: tables kept over runs, which the generator fills where they are empty.

Three tables say it: operator x version, operator x type of elements, and operator x what makes one of its inputs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.fuzz.component import Wish
from tests.fuzz.graph import DTYPES, TYPED, Cell, version_of
from tests.fuzz.rules import PATTERNS, RULES
from tests.fuzz.rules.making import family_of, neighbours

ENOUGH = 5
GIVE_UP = 4  # draws of a use, none of which ONNX Runtime judged
OLDEST = 7
MADE_FROM_NOTHING = frozenset({"Constant", "ConstantOfShape", "Range"})

Use = tuple[str, int, str]  # operator, version, type
Key = tuple[Any, ...]
"""A cell of a table, without the table's name."""


@dataclass(frozen=True)
class State:
    """The cells of a table: with ENOUGH uses, with less, with none, and those that ONNX Runtime never runs."""

    full: list[Key]
    some: list[Key]
    none: list[Key]
    never: list[Key]


class Coverage:
    """The tables.

    Args:
        newest: the newest opset to draw.
        path: where they are kept over runs.
        only: operators, patterns and kinds of invalid models to draw, where not all are.
    """

    def __init__(self, newest: int, path: Path | None = None, only: Collection[str] = ()) -> None:
        self.newest = newest
        self._only = frozenset(only)
        self._path = path
        self.uses: Counter[Use] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()  # operator, family of what makes an input
        self.denied: Counter[Use] = Counter()
        self.judged: Counter[str] = Counter()  # graphs, by what became of them
        self.why: dict[str, str] = {}
        self._drawn: Counter[Any] = Counter()  # in this run
        if path is not None and path.exists():
            self._read(json.loads(path.read_text()))

    @property
    def versions(self) -> Counter[Key]:
        """Uses by operator and version."""
        return _summed(self.uses, 0, 1)

    @property
    def types(self) -> Counter[Key]:
        """Uses by operator and type."""
        return _summed(self.uses, 0, 2)

    def record(self, cells: Iterable[Cell]) -> None:
        """Count uses that were judged, or refused by an error of ours."""
        for cell in cells:
            self.uses[cell.operator, cell.version, cell.dtype] += 1
            for family in {family_of(maker) for maker in cell.beside}:
                self.pairs[cell.operator, family] += 1

    def deny(self, operator: str, opset: int, dtype: str, why: str) -> None:
        """Count a draw that ONNX Runtime would not judge."""
        use = (operator, version_of(operator, opset), dtype)
        self.denied[use] += GIVE_UP if f"implementation for {operator}(" in why else 1
        self.why["/".join(map(str, use))] = why[:200]

    def wish(self, rng: np.random.Generator, opset: int) -> Wish:
        """What the tables lack at an opset: a type, and operators for it in a row, each next to what it lacks."""
        versions, types = self.versions, self.types
        wants = {
            dtype: [self._want(use, opset, versions, types) for use in uses] for dtype, uses in self._at[opset].items()
        }
        dtype = str(rng.choice(list(wants), p=_shares([sum(want) for want in wants.values()])))
        chosen = rng.choice(len(wants[dtype]), int(rng.integers(2, 6)), p=_shares(wants[dtype]))
        uses = [self._at[opset][dtype][int(at)] for at in chosen]
        self._drawn.update([*uses, *(use[0] for use in uses)])
        row = tuple((use[0], self._neighbour(rng, use[0], dtype, opset)) for use in uses)
        return Wish(dtype, row, self.least(PATTERNS) if rng.random() < 0.3 else None)

    def _neighbour(self, rng: np.random.Generator, operator: str, dtype: str, opset: int) -> str:
        families = list(neighbours([dtype], opset))
        lacks = [self._lacks("pair", (operator, family), self.pairs) + 0.05 for family in families]
        family = str(rng.choice(families, p=_shares(lacks)))
        self._drawn["pair", operator, family] += 1
        return family

    def least(self, names: Iterable[str]) -> str | None:
        """What was drawn least of some patterns or kinds of invalid models; None where they are not asked for."""
        name = min(self._chosen(names), key=lambda name: self._drawn["", name], default=None)
        self._drawn.update([("", name)] if name else [])
        return name

    def _chosen(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self._only or name in self._only]

    def opset(self, rng: np.random.Generator) -> int:
        """An opset, rather one where much is lacking."""
        versions = self.versions
        wants = [
            5.0 + sum(max(0, ENOUGH - versions[key]) for key in _keys(self._uses_at(opset), 0, 1)) for opset in self._at
        ]
        return int(rng.choice(list(self._at), p=_shares(wants)))

    def _uses_at(self, opset: int) -> list[Use]:
        return [use for uses in self._at[opset].values() for use in uses]

    def state(self) -> dict[str, State]:
        """How full each table is."""
        every = {use for opset in self._at for use in self._uses_at(opset)}
        open_uses = {use for use in every if self.uses[use] or self.denied[use] < GIVE_UP}
        tables = {
            "version": (self.versions, _keys(every, 0, 1), _keys(open_uses, 0, 1)),
            "type": (self.types, _keys(every, 0, 2), _keys(open_uses, 0, 2)),
            "neighbour": (self.pairs, *(self._pairs_of(uses) for uses in (every, open_uses))),
        }
        found = {}
        for name, (counts, cells, can) in tables.items():
            full = {cell for cell in can if counts[cell] >= ENOUGH}
            some = {cell for cell in can - full if counts[cell]}
            found[name] = State(*map(sorted, (full, some, can - full - some, cells - can)))
        return found

    def _pairs_of(self, uses: Collection[Use]) -> set[Key]:
        types: dict[str, set[str]] = {}
        newest = {use[0]: opset for opset in self._at for use in self._uses_at(opset)}
        for operator, _, dtype in uses:
            types.setdefault(operator, set()).add(dtype)
        return {
            (operator, family)
            for operator, dtypes in types.items()
            for family in (neighbours(sorted(dtypes), newest[operator]) if operator not in MADE_FROM_NOTHING else ())
        }

    def summary(self) -> str:
        """How full the tables are."""
        return "\n".join(
            f"operator x {name}: {len(state.full)} cells hold {ENOUGH} or more, {len(state.some)} less, "
            f"{len(state.none)} nothing; {len(state.never)} ONNX Runtime does not run"
            for name, state in self.state().items()
        )

    def json(self) -> dict[str, object]:
        """All counts, for a file."""
        counters = {name: getattr(self, name) for name in ("uses", "pairs", "denied")}
        tables = {name: [[*key, n] for key, n in sorted(counts.items())] for name, counts in counters.items()}
        return {**tables, "judged": dict(self.judged), "why": self.why}

    def save(self) -> None:
        """Keep the tables for the next run."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.json()))

    def _read(self, kept: dict) -> None:  # type: ignore[type-arg]
        for name in ("uses", "pairs", "denied"):
            getattr(self, name).update({tuple(key): n for *key, n in kept[name]})
        self.judged.update(kept["judged"])
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

    def _want(self, use: Use, opset: int, versions: Counter[Key], types: Counter[Key]) -> float:
        """How much a use is wanted: what was drawn often and lacks still comes later."""
        if not self.uses[use] and self.denied[use] >= GIVE_UP:
            return 0.0
        operator, version, dtype = use
        lacks = max(0, ENOUGH - versions[operator, version]) + max(0, ENOUGH - types[operator, dtype])
        pairs = sum(
            self._lacks("pair", (operator, family), self.pairs)
            for family in neighbours([dtype], opset)
            if operator not in MADE_FROM_NOTHING
        )
        return float((lacks + 0.3 * pairs) / (1 + self._drawn[use] / 4) + 0.2) / (1 + self._drawn[operator])

    def _lacks(self, table: str, cell: Key, counts: Counter[Key]) -> float:
        return float(max(0, ENOUGH - counts[cell])) / (1 + self._drawn[(table, *cell)] / 5)


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


def _summed(uses: Counter[Use], *places: int) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for use, count in uses.items():
        found[tuple(use[at] for at in places)] += count
    return found


def _keys(uses: Iterable[Use], *places: int) -> set[Key]:
    return {tuple(use[at] for at in places) for use in uses}


def _shares(weights: Sequence[float]) -> np.ndarray:
    array = np.array(weights)
    return array / array.sum() if array.any() else np.full(array.size, 1 / array.size)
