"""Whole models: the normal form computes what the file computes, by ONNX Runtime's judgement."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesparse import reference
from edgesparse.errors import FrontendError
from edgesparse.frontend import bound, load, read
from edgesparse.frontend.shapes import is_static
from tests.models import (
    INPUT_SHAPES,
    REAL_NAMES,
    assert_close,
    onnx_cases,
    onnx_light_models,
    ort_run,
    random_inputs,
    real_model,
    stored_inputs,
)

BIG = ("light_bvlc_alexnet", "light_vgg19", "light_zfnet512")  # hundreds of megabytes of constants
NOT_TENSORS = ("gradient", "sequence", "strnorm")


def assert_normal(normal: ir.Model) -> None:
    """The guarantees of the frontend's README that hold for every model."""
    onnx.checker.check_model(ir.to_proto(normal), full_check=True)
    nodes = list(normal.graph)
    names = [node.name for node in nodes]
    assert all(names) and len(set(names)) == len(names)
    assert all(is_static(value) for node in nodes for value in node.outputs if value.name)
    assert all(value.producer() is not None for value in normal.graph.outputs)
    assert not {"Gemm", "Sum", "Constant", "Flatten", "Squeeze", "Unsqueeze", "Dropout"} & {n.op_type for n in nodes}
    assert all(node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET" for node in nodes)


@pytest.mark.parametrize("name", REAL_NAMES)
def test_real_model_computes_the_same(name):
    path = real_model(name)

    normal = load(path, INPUT_SHAPES.get(name))

    assert_normal(normal)
    inputs = random_inputs(normal)
    for actual, expected in zip(ort_run(normal, inputs), ort_run(path, inputs), strict=True):
        assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow(part="zoo")] * (path.stem in BIG))
        for path in onnx_light_models()
    ],
)
def test_light_model_computes_the_same(path):
    normal = load(path)

    assert_normal(normal)
    inputs = random_inputs(normal)
    for actual, expected in zip(ort_run(normal, inputs), ort_run(path, inputs), strict=True):
        assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{kind}-{case.name}")
        for kind in ("pytorch-converted", "pytorch-operator", "simple")
        for case in onnx_cases(kind)
        if not any(word in case.name for word in NOT_TENSORS)
    ],
)
def test_small_model_computes_what_onnx_says(case):
    model = onnx.load(case / "model.onnx")
    inputs = stored_inputs(case, model)
    shapes = {name: array.shape for name, array in inputs.items()}
    values = {name: array for name, array in inputs.items() if "expand" in case.name and array.dtype == np.int64}

    normal = load(bound(read(model), values), {name: shapes[name] for name in shapes if name not in values})

    assert_normal(normal)
    stored = onnx.numpy_helper.to_array(onnx.load_tensor(case / "test_data_set_0" / "output_0.pb"))
    assert_close(ort_run(normal, inputs)[0], stored)


@pytest.mark.parametrize(
    "case", [case for case in onnx_cases("simple") if "sequence" in case.name], ids=lambda c: c.name
)
def test_sequences_are_refused_by_name(case):
    with pytest.raises(FrontendError, match="sequences and optional values cannot be compiled: .*Seq"):
        load(case / "model.onnx")


def test_nhwc_model_keeps_one_transpose():
    normal = load(real_model("mlperf_tiny_resnet8"))

    assert sum(node.op_type == "Transpose" for node in normal.graph) == 1


def test_zeros_survive_normalisation():
    path = real_model("cifar10_resnet20")
    pruned = ir.load(path)
    for value in pruned.graph.initializers.values():
        array = value.const_value.numpy()
        if array.ndim == 4:
            value.const_value = ir.tensor(np.where(np.abs(array) < 0.05, 0, array).astype(np.float32), name=value.name)
    zeros = sum(
        int((v.const_value.numpy() == 0).sum()) for v in pruned.graph.initializers.values() if len(v.shape) == 4
    )

    normal = load(pruned)

    left = [node.inputs[1].const_value.numpy() for node in normal.graph if node.op_type == "Conv"]
    assert sum(int((array == 0).sum()) for array in left) == zeros > 10_000


@pytest.mark.parametrize("name", REAL_NAMES)
def test_a_value_that_is_called_as_one_of_the_file_is_that_value(name):
    path = real_model(name)
    source, normal = ir.load(path), load(path, INPUT_SHAPES.get(name))
    names = {value.name for node in source.graph for value in node.outputs}
    both = [value.name for node in normal.graph for value in node.outputs if value.name in names]
    inputs = random_inputs(normal)
    wanted = {value.name for value in source.graph.inputs}

    expected = reference.evaluate(source, {k: v for k, v in inputs.items() if k in wanted}, both)
    actual = reference.evaluate(normal, inputs, both)

    assert len(both) >= min(5, len(normal.graph) // 2)
    for value in both:
        assert_close(actual[value], expected[value], rtol=1e-3, atol=1e-4)
