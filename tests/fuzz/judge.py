"""ONNX Runtime without its optimizer on the file itself, and whether what was computed agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError
from tests.fuzz.subject import Arrays

LIMIT_S = 60.0
TOLERANCE = {"float16": 2e-2, "float32": 5e-4, "float64": 5e-4}
"""Of the largest number that is expected."""

SHAKES = 3
SHAKE = 2.0**-20  # of a number: what inputs are moved by, to see how far rounding can carry
SLACK = 64.0


@dataclass(frozen=True)
class Judged:
    """What ONNX Runtime computes; None where it does not, and why."""

    outputs: Arrays | None
    why: str = ""


def judge(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Judged:
    """Run a model in ONNX Runtime."""
    try:
        return Judged(reference.evaluate(model, feeds, limit_s=LIMIT_S))
    except OnnxRuntimeError as err:
        return Judged(None, str(err))


def disagreement(
    actual: Arrays,
    expected: Arrays,
    model: onnx.ModelProto,
    feeds: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
) -> str | None:
    """The first output that is wrong, and how; None where all are right."""
    if set(actual) != set(expected):
        return f"outputs are {sorted(actual)}, expected {sorted(expected)}"
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    half = half or any(a.dtype == np.float16 for a in [*feeds.values(), *expected.values()])
    suspects = {}
    for name, right in expected.items():
        right = truths.get(name, right)
        text = _difference(actual[name], right, TOLERANCE["float16"] if half else None)
        if text is not None:
            suspects[name] = (right, text)
    if not suspects:
        return None
    moved = _movement(model, feeds, expected)
    for name, (right, text) in suspects.items():
        allowed = moved.get(name)
        same = actual[name].shape == right.shape and actual[name].dtype == right.dtype
        if name in truths or allowed is None or not same:
            return f"output {name!r}: {text}"
        with np.errstate(all="ignore"):
            error = np.abs(actual[name].astype(np.float64) - right.astype(np.float64))
        scale = np.abs(right[np.isfinite(right)]).max(initial=0) if right.dtype.kind == "f" else 0
        limit = SLACK * allowed.max(initial=0) + (TOLERANCE[right.dtype.name] * scale if scale else 0)
        if right.dtype.kind == "b" and allowed.any():
            continue
        if not (np.nan_to_num(error, nan=np.inf) <= limit).all() and not _same(actual[name], right):
            return f"output {name!r}: {text}"
    return None


def _same(actual: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.array_equal(actual, right, equal_nan=right.dtype.kind == "f"))


def _difference(actual: np.ndarray, right: np.ndarray, tolerance: float | None) -> str | None:
    if actual.dtype != right.dtype or actual.shape != right.shape:
        return f"got {actual.dtype}{list(actual.shape)}, expected {right.dtype}{list(right.shape)}"
    if right.dtype.kind != "f":
        wrong = actual != right
    else:
        a, b = actual.astype(np.float64), right.astype(np.float64)
        scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= (tolerance or TOLERANCE[right.dtype.name]) * scale
        wrong = ~(near | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return None
    at = tuple(int(i) for i in np.argwhere(wrong)[0]) if right.ndim else ()
    return f"{int(wrong.sum())} of {right.size} are wrong; at {list(at)} got {actual[at]}, expected {right[at]}"


def _movement(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], expected: Arrays) -> Arrays:
    """How far each element of the outputs goes when inputs and constants are moved by a little."""
    rng = np.random.default_rng(0)
    moved = {name: np.zeros(array.shape) for name, array in expected.items()}
    for _ in range(SHAKES):
        shaken = onnx.ModelProto()
        shaken.CopyFrom(model)
        for tensor in shaken.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(_shaken(numpy_helper.to_array(tensor), rng), tensor.name))
        judged = judge(shaken, {name: _shaken(array, rng) for name, array in feeds.items()})
        for name, array in (judged.outputs or {}).items():
            if array.shape == expected[name].shape:
                with np.errstate(all="ignore"):
                    distance = np.abs(array.astype(np.float64) - expected[name].astype(np.float64))
                moved[name] = np.maximum(moved[name], np.nan_to_num(distance, nan=0.0, posinf=0.0))
    return moved


def _shaken(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f" or array.dtype == np.float16:
        return array
    with np.errstate(all="ignore"):
        return np.asarray(array * (1 + SHAKE * rng.choice([-1.0, 1.0], array.shape)), array.dtype)
