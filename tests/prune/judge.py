"""What a smaller model must compute: the same as the larger one in which everything that was taken out is zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from edgesparse.prune import Shrunk
from tests.frontend.graphs import floats
from tests.frontend.graphs import model as parsed
from tests.models import Arrays, assert_close, ort_run


def network(
    text: str, opset: int = 20, inputs: str = "float[1, 3, 6, 6] x", output: str = "float[1, 5] y", **shapes: object
):
    """A graph whose weights of these shapes are all different; a value that is no tuple is a constant as it is."""
    arrays = {
        name: floats(*shape, seed=seed) / np.sqrt(shape[-1]).astype(np.float32) if isinstance(shape, tuple) else shape
        for seed, (name, shape) in enumerate(shapes.items())
    }
    return parsed(f"g ({inputs}) => ({output}) {{ {text} }}", opset, **arrays)


def constants(model: ir.Model) -> Arrays:
    """Float initializers by name."""
    arrays = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    return {name: array for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}


def zeroed(model: ir.Model, shrunk: ir.Model) -> ir.Model:
    """`model` with zeros for every weight that `shrunk` lacks."""
    judge, left = ir.to_proto(model), constants(shrunk)
    for tensor in judge.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if tensor.name not in left or array.shape == left[tensor.name].shape:
            continue
        kept = np.ix_(*(found(array, left[tensor.name], axis) for axis in range(array.ndim)))
        np.testing.assert_array_equal(array[kept], left[tensor.name])
        masked = np.zeros_like(array)
        masked[kept] = array[kept]
        tensor.CopyFrom(onnx.numpy_helper.from_array(masked, tensor.name))
    return ir.from_proto(judge)


def found(array: np.ndarray, smaller: np.ndarray, axis: int) -> list[int]:
    """Which indices of an axis are left, known by the values they hold, in order."""
    slices = [set(part.ravel().tolist()) for part in np.moveaxis(array, axis, 0)]
    indices: list[int] = []
    for part in np.moveaxis(smaller, axis, 0):
        start = indices[-1] + 1 if indices else 0
        indices.append(next(at for at in range(start, len(slices)) if set(part.ravel().tolist()) <= slices[at]))
    return indices


def assert_same_as_zeroed(model: ir.Model, shrunk: Shrunk, inputs: Mapping[str, np.ndarray]) -> None:
    """The smaller model is valid, has fewer weights, and computes what `model` does without them."""
    onnx.checker.check_model(ir.to_proto(shrunk.model), full_check=True)
    before, after = constants(model), constants(shrunk.model)
    assert sum(array.size for array in after.values()) < sum(array.size for array in before.values())

    actual, expected = ort_run(shrunk.model, inputs), ort_run(zeroed(model, shrunk.model), inputs)

    for got, wanted in zip(actual, expected, strict=True):
        assert np.abs(wanted).max() > 0
        assert_close(got, wanted)
