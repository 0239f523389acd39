"""The operators that are swept: the factors of each, and the node that a choice of levels means."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx

from tests.sweeps.case import Node

OLDEST = 7
SIZES = (2, 3, 5, 4, 3)
"""Of the axes, in order."""

Levels = Sequence[Any]


class Choice:
    """One level of each factor, and random values that go with it."""

    def __init__(self, operator: str, row: Mapping[str, Any]) -> None:
        self.row, self.opset = row, int(row["opset"])
        self.dtype = np.dtype(row.get("dtype", "float32"))
        self.rank = int(row.get("rank", 4))
        self.rng = np.random.default_rng(zlib.crc32(f"{operator} {sorted(row.items())}".encode()))

    def __getitem__(self, factor: str) -> Any:
        return self.row[factor]

    def get(self, factor: str, default: Any = None) -> Any:
        """A level, where the factor exists."""
        return self.row.get(factor, default)

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        """Sizes of `rank` axes; `sizes` of the row puts ones or zeros among them."""
        shape = list(SIZES[: self.rank if rank is None else rank])
        match self.get("sizes", "odd"):
            case "ones":
                shape = [1] * len(shape)
            case "first 1" | "first 0" if shape:
                shape[0] = int(self["sizes"][-1])
            case "last 1" | "last 0" if shape:
                shape[-1] = int(self["sizes"][-1])
            case "second 1" | "second 0" if len(shape) > 1:
                shape[1] = int(self["sizes"][-1])
        return tuple(shape)

    def data(self, shape: Sequence[int] | None = None, dtype: Any = None, low: float | None = None) -> np.ndarray:
        """Random values; `low` is the smallest, above zero where it is."""
        shape, kind = self.shape() if shape is None else tuple(shape), np.dtype(self.dtype if dtype is None else dtype)
        if kind == np.bool_:
            return self.rng.random(shape) < 0.5
        if kind.kind in "iu":
            first = (0 if kind.kind == "u" else -6) if low is None else int(np.ceil(low))
            return self.rng.integers(first, 9, shape).astype(kind)
        values = self.rng.normal(size=shape) * 2
        return np.asarray(values if low is None else np.abs(values) + low, kind)

    def indices(self, limit: int, shape: Sequence[int], dtype: Any = np.int64) -> np.ndarray:
        """Random indices of an axis of `limit` elements, counted from either end."""
        return np.asarray(self.rng.integers(-limit, max(limit, 1 - limit), tuple(shape)), dtype)


Build = Callable[[Choice], Node | None]


@dataclass(frozen=True)
class Operator:
    """An operator with what is varied; `build` returns None where a choice means nothing."""

    name: str
    factors: Mapping[str, Levels]
    build: Build

    def opsets(self) -> list[int]:
        """The first and the last opset of each version that is in force from the oldest opset on."""
        newest = onnx.defs.onnx_opset_version()
        since = sorted(schema.since_version for schema in schemas(self.name))
        found: set[int] = set()
        for first, following in zip(since, [*since[1:], newest + 1], strict=True):
            if following > OLDEST and not onnx.defs.get_schema(self.name, first).deprecated:
                found |= {max(first, OLDEST), following - 1}
        return sorted(found)

    def dtypes(self) -> list[str]:
        """Every element type, of those numpy has, that some version takes for the first input, or gives."""
        found: set[str] = set()
        for schema in schemas(self.name):
            formal = schema.inputs[0] if schema.inputs else schema.outputs[0]
            found |= {text[7:-1] for text in formal.types if text.startswith("tensor(")}
        return [name for name in DTYPES if _ONNX_NAMES.get(name, name) in found]


DTYPES = (
    *("float32", "float16", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
)
_ONNX_NAMES = {"float32": "float", "float64": "double"}


@cache
def schemas(name: str) -> list[onnx.defs.OpSchema]:
    """All versions of an operator of the standard domain."""
    every = onnx.defs.get_all_schemas_with_history()
    return [schema for schema in every if schema.name == name and schema.domain == ""]


def axes_of(rank: int) -> list[int]:
    """Both signs of every axis."""
    return list(range(-rank, rank))


def ints(*numbers: int) -> np.ndarray:
    """A list of int64."""
    return np.array(numbers, np.int64)


def words(text: str) -> list[str]:
    """The words of `text`."""
    return text.split()
