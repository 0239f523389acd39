"""Calibration samples, as they are given to the functions and commands that prune."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from edgesparse.errors import PruneError

Calibration: TypeAlias = str | Path | Mapping[str, Any] | None
"""Samples by input name, the .npz file that holds them, or none."""


def samples(calibration: Calibration) -> Mapping[str, Any] | None:
    """Calibration samples by input name, from an .npz file where it is one.

    Raises: PruneError: the file cannot be read.
    """
    if calibration is None or isinstance(calibration, Mapping):
        return calibration
    import zipfile

    import numpy as np

    try:
        loaded = np.load(calibration, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("an array without a name")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else "not an .npz file"
        raise PruneError(
            f"calibration: {calibration} cannot be read: {reason}; expected an .npz file with samples by input name"
        ) from err
