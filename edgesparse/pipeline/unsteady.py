"""What rounding alone may change: how far outputs move when all numbers move by one unit in their last place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.errors import OnnxRuntimeError

if TYPE_CHECKING:
    import onnx_ir as ir

MOVES = 8
"""How often all inputs are moved, and then all weights."""

MORE = 16
"""Of integers, so many times as many elements may differ as a move changes: sums round more often than once."""

Arrays = Mapping[str, np.ndarray]


def moved_outputs(
    run: Callable[[Arrays], Arrays], model: Path | ir.Model, feeds: Arrays, names: Iterable[str] | None = None
) -> Iterator[Arrays]:
    """Outputs of `run` for moved inputs, where any are floats; then those of `model` with its weights moved.

    Of a model in half precision what nodes compute is moved with the weights: ONNX Runtime keeps it in float32.
    """
    from onnx_ir.passes import common

    from edgesparse import frontend, reference

    for seed in range(MOVES if any(array.dtype.kind == "f" for array in feeds.values()) else 0):
        rng = np.random.default_rng(seed)
        yield run({name: _moved(array, rng) for name, array in feeds.items()})
    source = frontend.read(model) if isinstance(model, Path) else model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(source)
    halves = _halves(source)
    for seed in range(MOVES):
        try:
            yield reference.evaluate(_shaken(source, seed, halves), feeds, names, threads=0)
        except OnnxRuntimeError:  # a scale that is moved may change a shape
            return


def is_rounding(got: np.ndarray | None, expected: np.ndarray, moved: Iterable[np.ndarray]) -> bool:
    """Whether a value differs from what is expected by no more than it does in one of the `moved` ones."""
    if got is None or got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    distance, count = _distance(got, expected), _count(got, expected)
    most, furthest = 0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for each in moved:
            if each.shape == expected.shape:
                most, furthest = max(most, _count(each, expected)), max(furthest, _distance(each, expected))
            if distance <= furthest and (got.dtype.kind == "f" or count <= MORE * most):
                return True
    return False


def _halves(model: ir.Model) -> frozenset[str]:
    """Names of the float16 values between nodes."""
    import onnx_ir as ir

    from edgesparse import frontend

    typed = frontend.infer_shapes(model.clone())
    values = (value for node in typed.graph for value in node.outputs)
    return frozenset(str(value.name) for value in values if value.dtype == ir.DataType.FLOAT16)


def _shaken(model: ir.Model, seed: int, halves: frozenset[str]) -> ir.Model:
    """A copy of the model with all its floating-point weights moved, and the values that `halves` names."""
    import onnx_ir as ir

    shaken, rng = model.clone(), np.random.default_rng(seed)
    for value in shaken.graph.initializers.values():
        array = None if value.const_value is None else value.const_value.numpy()
        if array is not None and array.dtype in (np.float16, np.float32, np.float64):
            value.const_value = ir.tensor(_moved(array, rng), name=value.name)
    for node in list(shaken.graph):
        for value in node.outputs:
            if value.name in halves:
                _move_between(value, _moved(np.ones((), np.float16), rng), shaken.graph)
    return shaken


def _move_between(value: ir.Value, factor: np.ndarray, graph: ir.Graph) -> None:
    """Have nodes read `value` times `factor`."""
    import onnx_ir as ir

    readers, name = list(value.uses()), f"{value.name}/moved"
    by = ir.Value(name=f"{name} by", const_value=ir.tensor(factor), type=ir.TensorType(ir.DataType.FLOAT16))
    by.shape = ir.Shape(())
    graph.initializers[str(by.name)] = by
    product = ir.node("Mul", [value, by])
    product.outputs[0].name = name
    maker = value.producer()
    assert maker is not None
    graph.insert_after(maker, product)
    for reader, at in readers:
        reader.replace_input_with(at, product.outputs[0])


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every floating-point number moved to one of its neighbours, or not."""
    if array.dtype.kind != "f":
        return array
    there = (array + rng.integers(-1, 2, array.shape)).astype(array.dtype)
    return np.asarray(np.nextafter(array, there))  # numpy makes a number of an array without dimensions


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinite where only one is a number."""
    apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    apart = np.where((a == b) | ((a != a) & (b != b)), 0.0, apart)
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def _count(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.count_nonzero(a != b))
