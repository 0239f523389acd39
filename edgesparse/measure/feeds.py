"""Inputs for a model nobody gave inputs for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edgesparse.errors import MeasureError

Arrays = dict[str, np.ndarray]
Given = Mapping[str, np.ndarray] | Sequence[np.ndarray] | None
"""Inputs by name or in order, or nothing."""


class Spec(Protocol):
    """A model input, as artifacts and rivals describe it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> Any: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102


def feeds_for(inputs: Sequence[Spec], given: Given, seed: int = 0) -> Arrays:
    """The given inputs by name; seeded random ones where nothing is given.

    Raises: MeasureError: arrays in order, but not one for each input, or no arrays.
    """
    names = [spec.name for spec in inputs]
    if given is not None and (isinstance(given, str | bytes) or not isinstance(given, Mapping | Sequence)):
        raise MeasureError(
            f"inputs: got {type(given).__name__}, expected arrays by name or in order: {', '.join(names)}"
        )
    if not given:
        return random_feeds(inputs, seed)
    if isinstance(given, Mapping):
        return dict(given)
    if len(given) != len(names):
        raise MeasureError(f"inputs: got {len(given)} arrays, expected {len(names)}: {', '.join(names)}")
    return dict(zip(names, given, strict=True))


def random_feeds(inputs: Iterable[Spec], seed: int = 0) -> Arrays:
    """Seeded random inputs: normal for floats, pixels for pictures; 0 or 1 for other integers.

    Every vocabulary and every mask holds 0 and 1.
    """
    rng = np.random.default_rng(seed)
    feeds: Arrays = {}
    for spec in inputs:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = rng.standard_normal(spec.shape).astype(dtype)
        else:
            end = 256 if getattr(spec, "picture", "") else 2
            feeds[spec.name] = rng.integers(0, end, spec.shape).astype(dtype)
    return feeds
