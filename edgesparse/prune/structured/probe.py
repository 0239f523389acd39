"""Learn the shapes of a model by running it: once, and again with larger dynamic dimensions to see which those are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.sparsity.stored import stored_array

Feeds = Mapping[str, np.ndarray]
VALUES_UP_TO = 1024  # elements of a shape or an index that is computed
SIDES = (1, 16, 64, 224)  # tried for dynamic dimensions beyond the batch


@dataclass(frozen=True)
class Probe:
    """What each value of the main graph is: shapes in each run, constants, and values computed from shapes alone."""

    shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    arrays: Mapping[str, tuple[np.ndarray, ...]]
    constant: frozenset[str]
    quantized: frozenset[str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in the first run, whose batch is 1."""
        return self.shapes[name][0]

    def is_dynamic(self, name: str, axis: int) -> bool:
        """Whether the size of an axis follows the inputs."""
        return len({shape[axis] for shape in self.shapes[name]}) > 1

    def known(self, name: str) -> np.ndarray | None:
        """The value, where constants and shapes alone decide it and it was the same in every run."""
        arrays = self.arrays.get(name)
        if arrays is None or not all(np.array_equal(arrays[0], other) for other in arrays[1:]):
            return None
        return arrays[0]


def probe(model: ir.Model, feeds: Feeds | None = None) -> Probe:
    """Run `model` and note what every value is.

    Args: feeds: inputs to run with; ones and seeded noise by default.

    Raises: PruneError: ONNX Runtime cannot run the model.
    """
    constant, quantized = _constants(model)
    wanted = _static(model, constant)
    runs = _runs(model, feeds)
    arrays = {name: tuple(run[name] for run in runs) for name in wanted if all(name in run for run in runs)}
    shapes = {name: tuple(run[name].shape for run in runs) for name in runs[0] if all(name in run for run in runs)}
    small = {
        name: kept for name, kept in arrays.items() if name in constant or max(a.size for a in kept) <= VALUES_UP_TO
    }
    return Probe(shapes, small, frozenset(constant), frozenset(quantized))


def parameters(model: ir.Model) -> dict[str, np.ndarray]:
    """The initializers of the main graph by name."""
    found = {name: stored_array(value) for name, value in model.graph.initializers.items()}
    return {name: array for name, array in found.items() if array is not None}


def run_all(model: ir.Model, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every tensor that a node of the main graph makes, and the inputs and initializers."""
    names = [str(value.name) for node in model.graph for value in node.outputs if value.name]
    return {**parameters(model), **feeds, **reference.evaluate(model, feeds, names)}


def _runs(model: ir.Model, feeds: Feeds | None) -> list[dict[str, np.ndarray]]:
    try:
        first = run_all(model, feeds) if feeds else None
    except OnnxRuntimeError as err:
        raise PruneError(f"on the calibration data, {err}") from err
    failure: OnnxRuntimeError | None = None
    for side in (0,) if feeds else SIDES:
        try:
            first = run_all(model, made_up(model, 1, side)) if first is None else first
        except OnnxRuntimeError as err:
            failure = err
            continue
        if not _dynamic(model):
            return [first]
        given = feeds or made_up(model, 1, side)
        try:
            return [first, run_all(model, _larger(model, given))]
        except OnnxRuntimeError:  # dynamic by name only
            return [first]
    raise PruneError(f"on made-up inputs, {failure}; give calibration samples")


def made_up(model: ir.Model, batch: int, side: int) -> dict[str, np.ndarray]:
    """Inputs of a model: seeded noise for floats, ones for the rest; `side` for dynamic dimensions but the first."""
    rng = np.random.default_rng(0)
    feeds = {}
    for value in _inputs(model):
        if value.shape is None or value.dtype is None:
            raise PruneError(f"input {value.name!r} has no shape in the file; give calibration samples")
        shape = [
            size if isinstance(size, int) else (batch if axis == 0 else side) for axis, size in enumerate(value.shape)
        ]
        dtype = value.dtype.numpy()
        noise = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else np.ones(shape)
        feeds[str(value.name)] = noise.astype(dtype)
    return feeds


def _inputs(model: ir.Model) -> Iterator[ir.Value]:
    return (value for value in model.graph.inputs if value.name not in model.graph.initializers)


def _dynamic(model: ir.Model) -> bool:
    return any(value.shape is not None and not value.shape.is_static() for value in _inputs(model))


def _larger(model: ir.Model, feeds: Feeds) -> dict[str, np.ndarray]:
    """`feeds` with every dynamic dimension doubled."""
    grown = dict(feeds)
    for value in _inputs(model):
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int):
                array = grown[str(value.name)]
                grown[str(value.name)] = np.concatenate([array, array], axis)
    return grown


def _constants(model: ir.Model) -> tuple[set[str], set[str]]:
    """Names of the values that no input decides, and of those among them that were quantized."""
    constant, quantized = set(model.graph.initializers), set[str]()
    for node in model.graph:
        if not _foldable(node) or not all(value is None or value.name in constant for value in node.inputs):
            continue
        names = {str(value.name) for value in node.outputs}
        constant |= names
        if node.op_type == "DequantizeLinear" or any(value and value.name in quantized for value in node.inputs):
            quantized |= names
    return constant, quantized


def _static(model: ir.Model, constant: set[str]) -> set[str]:
    """Names of the values that constants and shapes decide."""
    static = set(constant)
    for node in model.graph:
        if node.op_type in ("Shape", "Size") or (
            _foldable(node) and all(value is None or value.name in static for value in node.inputs)
        ):
            static |= {str(value.name) for value in node.outputs}
    return static


def _foldable(node: ir.Node) -> bool:
    has_graph = any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attr in node.attributes.values())
    return node.domain in ("", "ai.onnx") and not has_graph and not node.op_type.startswith("Random")
