"""Calibration samples: arrays by input name, checked against a model and fed to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError

BATCH = 16
"""Samples that run at a time, where a model takes them."""


@dataclass(frozen=True)
class Samples:
    """Samples that fit a model.

    `arrays` holds the samples of each input along axis 0. What follows is a whole feed where `stacked` says so; else
    axis 0 is the batch axis of the input too.
    """

    arrays: Mapping[str, np.ndarray]
    stacked: Mapping[str, bool]
    batchable: bool

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def feeds(self, batch: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """Feeds of all samples in order, `batch` samples at a time where the model's batch axes allow it."""
        step = batch if self.batchable else 1
        for start in range(0, len(self), step):
            yield {
                name: array[start, ...] if self.stacked[name] else array[start : start + step]
                for name, array in self.arrays.items()
            }


def check_samples(model: ir.Model, arrays: Mapping[str, np.ndarray]) -> Samples:
    """Check calibration samples against the inputs of `model`.

    Args:
        arrays: by input name, S samples along axis 0. A sample has the input's whole shape, or that without the
            axis 0 if it is 1 or not fixed: then it is a batch axis.

    Raises: PruneError: a name, shape or type does not fit, the counts differ, or numbers are NaN or beyond the type.
    """
    inputs = {value.name or "": value for value in model.graph.inputs if value.name not in model.graph.initializers}
    if set(arrays) != set(inputs):
        missing, unknown = sorted(set(inputs) - set(arrays)), sorted(set(arrays) - set(inputs))
        wrong = f"no samples for {', '.join(missing)}" if missing else f"no input is called {', '.join(unknown)}"
        raise PruneError(f"calibration: {wrong}; expected one array of samples for each of {', '.join(inputs)}")
    typed = {name: _typed(inputs[name], np.asarray(array)) for name, array in arrays.items()}
    stacked = {name: _stacked(inputs[name], array) for name, array in typed.items()}
    counts = {name: len(array) for name, array in typed.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise PruneError(f"calibration: every input needs the same number of samples, 1 or more; {listed}")
    dynamic = all(not isinstance(_shape(value)[0], int) for name, value in inputs.items() if not stacked[name])
    return Samples(typed, stacked, batchable=dynamic and not any(stacked.values()))


def _shape(value: ir.Value) -> tuple[int | None, ...]:
    """Sizes of an input, None where they are not fixed."""
    return tuple(size if isinstance(size, int) else None for size in value.shape or ())


def _typed(value: ir.Value, array: np.ndarray) -> np.ndarray:
    """The array in the type of the input, where each number in it has one there."""
    if value.dtype is None:
        return array
    dtype = value.dtype.numpy()
    where = f"calibration: {value.name}"
    if array.dtype.kind != dtype.kind and not np.can_cast(array.dtype, dtype, "safe"):
        raise PruneError(f"{where}: got {array.dtype} samples, expected {dtype}")
    with np.errstate(over="ignore"):
        typed = np.ascontiguousarray(array, dtype)
    lost = np.isnan(typed) | (np.isinf(typed) & np.isfinite(array)) if dtype.kind == "f" else typed != array
    if lost.any():
        at = tuple(int(axis[0]) for axis in np.nonzero(lost))
        raise PruneError(
            f"{where}: sample {at[0] if at else 0} holds {array[at]}, expected {dtype} numbers; leave it out or fix it"
        )
    return typed


def _stacked(value: ir.Value, array: np.ndarray) -> bool:
    """Whether each entry of `array` is a whole feed, rather than one place along the batch axis."""
    shape = None if value.shape is None else _shape(value)
    if shape is None:
        return True
    if array.ndim == len(shape) + 1 and _fits(shape, array):
        return True
    batched = bool(shape) and shape[0] in (1, None)
    if batched and array.ndim == len(shape) and _fits(shape[1:], array):
        return False
    forms = [_listed(shape[1:])] * batched + [_listed(shape)]
    raise PruneError(f"calibration: {value.name}: got shape {list(array.shape)}, expected {' or '.join(forms)}")


def _listed(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join(['samples', *('any' if size is None else str(size) for size in shape)])}]"


def _fits(shape: tuple[int | None, ...], array: np.ndarray) -> bool:
    """Whether the axes of `array` behind the first have the sizes in `shape`."""
    return all(size in (None, actual) for size, actual in zip(shape, array.shape[1:], strict=True))
