"""Calibration samples, as they are given to the functions and commands that prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgesparse.errors import PruneError
from edgesparse.inputs import arrays, said

if TYPE_CHECKING:
    import onnx_ir as ir

EXPECTED = "an .npz file with calibration samples by input name"
SHARE_HELD_OUT, LEAST_HELD_OUT = 5, 32
SYNTHETIC = "synthetic"
MADE_UP = """fitted to pictures that were made up: nobody has seen what the outputs have become for yours
give a few hundred inputs, without labels (--calibration samples.npz): they lose less, and show what is left"""

TOO_FEW = """none of the samples could be held out: nobody has seen what the outputs have become
give more inputs, a few hundred, without labels (--calibration samples.npz)"""

Calibration: TypeAlias = str | Path | Mapping[str, Any] | None
"""Samples by input name, the .npz file that holds them, SYNTHETIC for pictures that are made up, or none."""


def is_synthetic(calibration: Calibration) -> bool:
    """Whether samples are to be made up."""
    return isinstance(calibration, str | Path) and str(calibration) == SYNTHETIC


def samples(calibration: Calibration, model: ir.Model | None = None) -> Mapping[str, Any] | None:
    """Calibration samples by input name, from an .npz file where it is one.

    Args: model: the network that they are for; without it they are not checked, and none are made up.

    Raises: PruneError: the file cannot be read, it is neither, samples do not fit the network, or it takes no pictures.
    """
    if is_synthetic(calibration):
        return None if model is None else _made_up(model)
    given = None if calibration is None else _given(calibration)
    if given is not None and model is not None:
        from edgesparse.prune import check_samples

        check_samples(model, given)
    return given


def _given(calibration: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    import numpy as np

    if isinstance(calibration, Mapping):
        try:
            return {name: np.asarray(array) for name, array in calibration.items()}
        except ValueError as err:  # lists of different lengths
            raise PruneError(f"calibration: {said(err)}") from err
    if not isinstance(calibration, str | Path):
        got = type(calibration).__name__
        raise PruneError(f"calibration: got {got}, expected arrays by the names of inputs, or {EXPECTED}")
    loaded = arrays(Path(calibration), PruneError, EXPECTED)
    if not isinstance(loaded, Mapping):
        raise PruneError(f"{calibration}: got one array without a name, expected {EXPECTED}")
    return loaded


def _made_up(model: ir.Model) -> Mapping[str, Any]:
    from edgesparse import frontend
    from edgesparse.prune import synthetic

    return synthetic(frontend.load(model))


def parted(given: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The samples that pruning sees, and those that it is judged on: every so many-th of them.

    A fifth is held out, or 32 if that is more, but no more than half; nothing of a single sample, nor of arrays that do
    not hold equally many.
    """
    import numpy as np

    counts = {len(array) if np.ndim(array) else 0 for array in (given or {}).values()}
    count = counts.pop() if len(counts) == 1 else 0
    held = min(max(count // SHARE_HELD_OUT, LEAST_HELD_OUT), count // 2)
    if given is None or held == 0:
        return given, None
    out = np.zeros(count, bool)
    out[np.arange(held) * count // held] = True
    return tuple({name: np.asarray(array)[of] for name, array in given.items()} for of in (~out, out))  # type: ignore


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
