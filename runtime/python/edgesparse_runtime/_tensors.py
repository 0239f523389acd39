"""Tensors of a model, and the arrays that callers give for them and get from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesparse_runtime._arguments import natural
from edgesparse_runtime._library import EdgesparseRuntimeError


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    picture: str = ""  # of an input that takes frames: "rgb", "bgr", "grey", "rgb-planes" or "bgr-planes"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


PREPROCESS = "--preprocess NAME=uint8,from=WIDTHxHEIGHT"


def arrange(arrays: tuple[Any, ...], inputs: Sequence[Tensor]) -> list[np.ndarray]:
    """The arrays that `Model.run` was given, in the order of the inputs; `inputs` say what fits.

    Raises:
        EdgesparseRuntimeError: a name, dtype or shape is not the model's.
    """
    names = [tensor.name for tensor in inputs]
    if len(arrays) == 1 and isinstance(arrays[0], Mapping):
        given = arrays[0]
        if set(given) != set(names):
            raise _misfit(f"inputs: got the names {sorted(given)}, expected {names}")
        arrays = tuple(given[name] for name in names)
    elif len(arrays) == 1 and isinstance(arrays[0], list | tuple):
        arrays = tuple(arrays[0])
    if len(arrays) != len(names):
        raise _misfit(f"inputs: got {len(arrays)} arrays, expected {len(names)}: {', '.join(names)}")
    return [_fit(array, tensor) for array, tensor in zip(arrays, inputs, strict=True)]


def largest(outputs: Mapping[str, np.ndarray], name: str, labels: Sequence[str], count: int) -> list[tuple[str, float]]:
    """The largest elements of the output of that name, with their labels or numbers, the largest first.

    Raises:
        EdgesparseRuntimeError: that output is not there.
    """
    if not isinstance(outputs, Mapping) or name not in outputs:
        got = f"the names {list(outputs)}" if isinstance(outputs, Mapping) else type(outputs).__name__
        raise _misfit(f"outputs: got {got}, expected what run returns, with {name!r}")
    scores = np.asarray(outputs[name]).ravel()
    if scores.dtype.kind not in "biuf":
        raise _misfit(f"outputs: got {name!r} of dtype {scores.dtype}, expected what run returns")
    order = np.argsort(-scores.astype(np.float64), kind="stable")[: natural("count", count)]  # NaN comes last
    return [(labels[at] if labels else str(at), float(scores[at])) for at in order]


def _misfit(message: str) -> EdgesparseRuntimeError:
    return EdgesparseRuntimeError(message, "ES_ERR_TENSOR")


def _fit(value: Any, tensor: Tensor) -> np.ndarray:
    """The array as the runtime takes it: dense, in C order and native byte order."""
    try:
        array = np.asarray(value)
    except ValueError as err:  # lists of different lengths
        raise _misfit(
            f"input {tensor.name!r}: is no array, expected {tensor.dtype}{list(tensor.shape)}: {err}"
        ) from err
    if array.dtype.newbyteorder("=") != tensor.dtype:
        raise _misfit(
            f"input {tensor.name!r}: got dtype {array.dtype}, expected {tensor.dtype}; {_cure(array, tensor)}"
        )
    if array.shape != tensor.shape:
        remedy = f"; {_way(array.shape, tensor)}" if tensor.picture else ""
        raise _misfit(f"input {tensor.name!r}: got shape {array.shape}, expected {tensor.shape}{remedy}")
    return np.ascontiguousarray(array, tensor.dtype)


def _way(shape: tuple[int, ...], tensor: Tensor) -> str:
    """What to do about a frame of another shape."""
    if shape[1:] == tensor.shape and shape[0] == 1:
        return "give one frame, without an axis for several"
    planes = tensor.picture.endswith("planes")
    channels, found = (each[0 if planes else 2] if len(each) == 3 else 1 for each in (tensor.shape, shape))
    if len(shape) != len(tensor.shape) or found != channels:
        order = "channels, height, width" if planes else "height, width, channels" if len(tensor.shape) == 3 else "rows"
        return f"give a frame of {tensor.picture}, its axes {order}"
    return f"resize it, or compile the model with another size: {PREPROCESS}"


def _cure(array: np.ndarray, tensor: Tensor) -> str:
    """What to do about an array of another type; pixels are not what a normalised tensor holds."""
    if tensor.picture:
        return f"give the frame as the camera has it, {tensor.picture} of 0 to 255, not normalised"
    if array.dtype == np.uint8 and tensor.dtype.kind == "f":
        return f"for frames, compile the model with {PREPROCESS}"
    return f"convert with .astype('{tensor.dtype}')"
