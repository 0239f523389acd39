"""Networks in 16 bits, whole: compiled, run on the emulated core that computes them, judged by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgesparse
from edgesparse.devices import targets
from edgesparse.devices.emulated import Emulated
from edgesparse.errors import EdgesparseError, WitnessError
from tests.models import ort_run

RPI5 = targets.load("rpi5")
X = np.random.default_rng(1).standard_normal((1, 3, 33, 37)).astype(np.float32)


def network(path: Path, kind: type = np.float32, density: float = 0.2) -> Path:
    """A residual block with a depthwise layer and a gate, strided windows, a pool, and a classifier."""
    rng, nodes, stored = np.random.default_rng(0), [], []

    def constant(array: np.ndarray) -> str:
        stored.append(numpy_helper.from_array(array, f"c{len(stored)}"))
        return stored[-1].name

    def node(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"v{len(nodes)}"], f"n{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    def weight(*shape: int, share: float = 1.0) -> str:
        kept = rng.random(shape) < share
        w = rng.standard_normal(shape) * kept / np.sqrt(np.prod(shape[1:]) * share)
        return constant(w.astype(kind))

    def conv(x: str, *shape: int, share: float = 1.0, **attributes: object) -> str:
        return node(
            "Conv", x, weight(*shape, share=share), constant(rng.standard_normal(shape[0]).astype(kind)), **attributes
        )

    y = node("Relu", conv("x", 16, 3, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2]))
    y = short = node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = conv(y, 144, 16, 1, 1, share=density)
    y = node("Mul", y, node("Sigmoid", y))
    y = conv(y, 144, 1, 3, 3, group=144, pads=[1, 1, 1, 1])
    y = node("Clip", y, constant(kind(0)), constant(kind(6)))
    y = node("Relu", node("Add", conv(y, 16, 144, 1, 1, share=density), short))
    y = conv(y, 40, 16, 3, 3, share=density, pads=[1, 1, 1, 1])
    y = conv(y, 33, 40, 5, 5, share=density, strides=[2, 2], pads=[2, 2, 2, 2])
    y = node("Flatten", node("GlobalAveragePool", y))
    y = node("Softmax", node("Add", node("MatMul", y, weight(33, 10)), constant(rng.standard_normal(10).astype(kind))))
    of = TensorProto.FLOAT if kind is np.float32 else TensorProto.FLOAT16
    given, result = helper.make_tensor_value_info("x", of, X.shape), helper.make_tensor_value_info(y, of, (1, 10))
    graph = helper.make_graph(nodes, "net", [given], [result], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(("density", "share"), [(0.1, 0.8), (1.0, 0.65)])  # indices stay as large as they were
def test_a_float32_network_runs_in_half(tmp_path, density, share):
    model = network(tmp_path / "m.onnx", density=density)
    full = edgesparse.compile(model, "rpi5", tmp_path / "full.esp", witness=False)

    half = edgesparse.compile(model, "rpi5", tmp_path / "half.esp", dtype="f16", witness=False)

    assert {layer.types for layer in half.plans[0].layers} == {"f16"}
    assert half.weights_bytes < share * full.weights_bytes
    with Emulated(RPI5).open(half.artifact) as session:
        (got,) = session.run({"x": X}).values()
    (expected,) = ort_run(model, {"x": X})
    assert got.dtype == np.float32
    assert 0 < np.abs(got - expected).max() <= 1e-2 * np.abs(expected).max()


def test_what_was_compiled_so_is_verified_so(tmp_path):
    model = network(tmp_path / "m.onnx")
    report = edgesparse.compile(model, "rpi5", tmp_path / "half.esp", dtype="f16", witness=False)

    verified = edgesparse.verify(report.artifact, model)

    (plan,) = verified.plans
    assert all(difference.agrees for difference in (*plan.outputs, *plan.layers))
    assert len(plan.layers) > 5
    assert max(difference.max_error for difference in plan.layers) > 1e-5


def test_a_network_of_float16_stays_so_where_that_is_computed(tmp_path):
    model = network(tmp_path / "m.onnx", np.float16)
    (expected,) = ort_run(model, {"x": X.astype(np.float16)})

    report = edgesparse.compile(model, "rpi5,rpi4", tmp_path / "m.esp")

    types = {plan.target: {layer.types for layer in plan.layers} for plan in report.plans}
    assert types == {"rpi5": {"f16"}, "rpi4": {"f32"}}
    assert any("rpi4: computes in float32" in note for note in report.notes)
    assert not any("rpi5: " in note for note in report.notes)
    for number, plan in enumerate(report.plans):
        with Emulated(targets.load(plan.target), number).open(report.artifact) as session:
            (got,) = session.run({"x": X.astype(np.float16)}).values()
        assert got.dtype == np.float16
        assert np.abs(got.astype(np.float64) - expected).max() <= 1e-2 * np.abs(expected).max()


def test_a_network_of_float16_is_computed_by_our_kernels_on_this_machine(tmp_path):
    report = edgesparse.compile(network(tmp_path / "m.onnx", np.float16), "host", tmp_path / "m.esp")

    assert {layer.types for layer in report.plans[0].layers} == {"f32"}
    assert report.witness is not None and report.witness.code == "agrees"


def test_what_float16_does_not_hold_is_refused_before_anything_is_written(tmp_path):
    large, small = np.full((4, 3, 1, 1), 3e4, np.float32), np.full((4, 4, 1, 1), 1e-5, np.float32)
    nodes = [helper.make_node("Conv", ["x", "large"], ["c"]), helper.make_node("Conv", ["c", "small"], ["y"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))
    stored = [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small")]
    graph = helper.make_graph(nodes, "net", [given], [result], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")

    with pytest.raises(WitnessError, match="in float16 '.*' is infinite or no number: .*compile without --dtype f16"):
        edgesparse.compile(tmp_path / "m.onnx", "rpi5", tmp_path / "m.esp", dtype="f16")

    assert not (tmp_path / "m.esp").exists()


def test_explain_shows_the_type(tmp_path):
    text = str(edgesparse.explain(network(tmp_path / "m.onnx"), "rpi5", dtype="f16"))

    assert " f16 " in text and " f32 " not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "f8"}, "dtype: got 'f8', expected f16 or f32"),
        ({"dtype": "f16", "latency": "8ms"}, "dtype f16 with a budget"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, options, words):
    with pytest.raises(EdgesparseError, match=words) as caught:
        edgesparse.compile(network(tmp_path / "m.onnx"), "rpi5", tmp_path / "m.esp", **options)

    assert "\n" not in str(caught.value)
