"""Calibration samples, as they are given to the functions and commands that prune."""

from __future__ import annotations

from collections.abc import Mapping
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
