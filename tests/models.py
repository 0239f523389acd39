"""Models for tests, and ONNX Runtime as the independent judge of what they compute."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL = os.environ.get("EDGESPARSE_REAL")  # a folder of trained models
ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

REAL_NAMES = (
    "cifar10_resnet20",
    "magika_standard_v3_3",
    "mlperf_tiny_kws_dscnn",
    "mlperf_tiny_resnet8",
    "mlperf_tiny_vww_mobilenetv1_025",
    "mnist-8",
    "silero_vad_16k_op15",
    "sinet_portrait_seg",
)
INPUT_SHAPES = {"silero_vad_16k_op15": {"input": (1, 512), "state": (2, 1, 128)}}
"""Shapes that a model needs beyond dynamic dimensions of 1."""

Arrays = dict[str, np.ndarray]


def real_model(name: str) -> Path:
    """Path of a trained model; skips the test where nobody says where they are."""
    if REAL is None:
        pytest.skip("EDGESPARSE_REAL does not name a folder of trained models")
    return Path(REAL) / f"{name}.onnx"


def onnx_light_models() -> list[Path]:
    """The light_* models of the onnx wheel: known architectures, weights filled with constants."""
    return sorted((ONNX_DATA / "light").glob("light_*.onnx"))


def onnx_cases(kind: str) -> list[Path]:
    """Folders of the onnx wheel's small models: "pytorch-converted", "pytorch-operator" or "simple"."""
    return sorted(path.parent for path in (ONNX_DATA / kind).glob("*/model.onnx"))


def stored_inputs(case: Path, model: onnx.ModelProto) -> Arrays:
    """The inputs stored with a case of `onnx_cases`."""
    supplied = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in supplied]
    files = [case / "test_data_set_0" / f"input_{at}.pb" for at in range(len(names))]
    return {name: onnx.numpy_helper.to_array(onnx.load_tensor(file)) for name, file in zip(names, files, strict=True)}


def random_inputs(model: ir.Model, seed: int = 0) -> Arrays:
    """Inputs that fit a normalised model: normal floats, small token ids, masks of ones; a sampling rate of 16 kHz."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for value in model.graph.inputs:
        assert value.name and value.dtype is not None and value.shape is not None
        shape, dtype = tuple(value.shape.numpy()), value.dtype.numpy()
        if np.issubdtype(dtype, np.floating):
            arrays[value.name] = rng.standard_normal(shape).astype(dtype)
        elif "mask" in value.name:
            arrays[value.name] = np.ones(shape, dtype)
        elif value.name == "sr":
            arrays[value.name] = np.full(shape, 16000, dtype)
        else:
            arrays[value.name] = rng.integers(0, 2, shape).astype(dtype)
    return arrays


def ort_run(model: ir.Model | onnx.ModelProto | Path, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of `model` in ONNX Runtime, without any optimisation, one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if isinstance(model, ir.Model):
        model = ir.to_proto(model)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    return session.run(None, {name: array for name, array in inputs.items() if name in wanted})


def assert_close(actual: np.ndarray, expected: np.ndarray, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    """`actual` equals `expected` after scaling both so that the largest expected magnitude is 1."""
    assert actual.shape == expected.shape
    if not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(actual, expected)
        return
    finite = np.abs(expected[np.isfinite(expected)]).astype(np.float64)
    scale = max(float(finite.max(initial=0.0)), 1e-30)
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=rtol, atol=atol)
