"""Small models for tests of the frontend, written as ONNX text."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from edgesparse.frontend import load
from tests.models import assert_close, ort_run, random_inputs


def model(text: str, opset: int = 20, **constants: np.ndarray) -> ir.Model:
    """The graph in `text` with `constants` as initializers."""
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n{text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    return ir.from_proto(proto)


def ops(normal: ir.Model) -> list[str]:
    """Operators of a model in order."""
    return [node.op_type for node in normal.graph]


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def normal_of(text: str, opset: int = 20, **constants: np.ndarray) -> ir.Model:
    """The normal form of `text`, after checking that it computes the same under the same names."""
    source = model(text, opset, **constants)
    normal = load(source)
    inputs = random_inputs(normal)
    assert [value.name for value in normal.graph.outputs] == [value.name for value in source.graph.outputs]
    for actual, expected in zip(ort_run(normal, inputs), ort_run(source, inputs), strict=True):
        assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    return normal
