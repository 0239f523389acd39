"""Bind inputs to values: they become constants, before shapes are inferred."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.shapes import give_sizes, named_dimensions
from edgesparse.inputs import arrays

Bindings: TypeAlias = Mapping[str, Any]
"""Values by the names of inputs: arrays, numbers, or text as on the command line."""

MOST_ELEMENTS = 1 << 16
"""The most elements of one value, since artifacts record what was bound."""

_RANKS = {"b": 0, "u": 1, "i": 1, "f": 2}
"""Kinds of elements: one may become another of no lower rank."""


def bound(model: ir.Model, bind: Bindings) -> ir.Model:
    """A copy of `model` in which inputs are constants; they are no longer in its signature.

    Args:
        bind: a value has the type of its input: exactly, but for rounding floats. One number fills any static shape.
            Text is numbers with commas between them, "true", "false", or the name of an .npy file.

    Raises: FrontendError: unknown name, a value that the input cannot take, or one of over 65,536 elements.
    """
    if not isinstance(bind, Mapping):
        raise FrontendError(f"bind: got {bind!r}, expected values by the names of inputs, such as {{'sr': 16000}}")
    model = model.clone()
    graph = model.graph
    inputs = {value.name or "": value for value in graph.inputs if value.name not in graph.initializers}
    unknown = next((name for name in bind if name not in inputs), None)
    if unknown is not None:
        listed = ", ".join(map(repr, inputs)) or "none"
        raise FrontendError(f"no input is named {unknown!r}, to be bound; the model has {listed}")
    values = {name: _array(inputs[name], value) for name, value in bind.items()}
    known = named_dimensions(inputs, {name: array.shape for name, array in values.items()})
    for name, array in values.items():
        _freeze(graph, inputs[name], array)
    give_sizes((value for name, value in inputs.items() if name not in values), known)
    return model


def _array(value: ir.Value, given: Any) -> np.ndarray:
    """What is given, in the type of the input and, if it is one number, in its shape."""
    if value.dtype is None:
        raise FrontendError(f"input {value.name!r} is not a tensor, and cannot be bound")
    try:
        array = _read(value, given) if isinstance(given, str) else np.asarray(given)
        array = array.astype(np.float64) if array.dtype.kind == "U" else array
    except ValueError as err:  # lists of different lengths
        raise FrontendError(f"input {value.name!r} cannot be bound: {err}") from err
    wanted = value.dtype.numpy()
    if array.dtype.kind not in _RANKS or wanted.kind not in _RANKS:
        raise FrontendError(
            f"input {value.name!r} is {value.dtype}, and cannot be bound to {given!r}; expected numbers"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(wanted)
    rounds = array.dtype.kind == "f"
    if _RANKS[array.dtype.kind] > _RANKS[wanted.kind] or not (rounds or np.array_equal(converted, array)):
        raise FrontendError(f"input {value.name!r} is {value.dtype}; it cannot be bound to {_short(array)}")
    if converted.size > MOST_ELEMENTS:
        raise FrontendError(
            f"input {value.name!r}: got {converted.size:,} elements to bind, expected at most {MOST_ELEMENTS:,}; "
            "remedy: make it an initializer of the model"
        )
    static = value.shape is not None and value.shape.is_static()
    return np.full(value.shape.numpy(), converted) if static and converted.ndim == 0 else converted  # type: ignore[union-attr]


def _read(value: ir.Value, text: str) -> np.ndarray:
    """The numbers that a text says, or the file it names."""
    if text.endswith(".npy"):
        try:
            return np.asarray(arrays(Path(text), FrontendError, "an .npy file"))
        except FrontendError as err:
            raise FrontendError(f"input {value.name!r}: {err}") from err
    parts = text.split(",")
    for kind in (_whole, float, _truth):
        try:
            numbers = np.array([kind(part) for part in parts])
        except (KeyError, OverflowError, ValueError):
            continue
        return numbers if len(parts) > 1 else numbers[0]
    raise FrontendError(
        f"input {value.name!r}: cannot be bound to {text!r}; expected a number, such as 16000 or 3,224,224"
    )


def _whole(text: str) -> np.int64:
    return np.int64(int(text))


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.strip().lower()]


def _short(array: np.ndarray) -> str:
    return f"{array.dtype} {np.array2string(array, threshold=8, separator=', ')}"


def _freeze(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> None:
    graph.inputs.remove(value)
    value.const_value, value.shape = ir.tensor(array, name=value.name), ir.Shape(array.shape)
    graph.register_initializer(value)
