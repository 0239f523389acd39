"""Calibration samples, as they are given to the functions and commands that prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgesparse.errors import PruneError
from edgesparse.inputs import arrays

EXPECTED = "an .npz file with calibration samples by input name"
Calibration: TypeAlias = str | Path | Mapping[str, Any] | None
"""Samples by input name, the .npz file that holds them, or none."""


def samples(calibration: Calibration) -> Mapping[str, Any] | None:
    """Calibration samples by input name, from an .npz file where it is one.

    Raises: PruneError: the file cannot be read.
    """
    if calibration is None or isinstance(calibration, Mapping):
        return calibration
    loaded = arrays(Path(calibration), PruneError, EXPECTED)
    if not isinstance(loaded, Mapping):
        raise PruneError(f"{calibration}: got one array without a name, expected {EXPECTED}")
    return loaded


def first_of(given: Mapping[str, Any] | None, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    """As many of the samples as a run takes."""
    import numpy as np

    if given is None:
        return None
    return {
        name: given[name][0] if np.ndim(given[name]) > len(shape) else given[name][: shape[0]]
        for name, shape in shapes.items()
        if np.ndim(given.get(name, 0)) > 0
    }
