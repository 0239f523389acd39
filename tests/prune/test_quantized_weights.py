"""Weights that are stored as small integers: zeros are exact, and whatever is not pruned stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgesparse
from edgesparse.errors import PruneError
from edgesparse.package.reader import read
from edgesparse.prune import METHODS, prune
from tests.models import ort_run

CHANNELS = 16


def network(kind: str = "int8", *, by_channel: bool = True, zero: int = 0, opset: int = 19) -> onnx.ModelProto:
    """Two convolutions and a product, as quantizers write them; weights of `kind` around `zero`."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(op, inputs, name, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"{name}_y"], name, **attributes))
        return f"{name}_y"

    def around(value, name, scale):
        by = [constant(f"{name}_s", np.float32(scale)), constant(f"{name}_z", np.uint8(120))]
        return node("DequantizeLinear", [node("QuantizeLinear", [value, *by], f"{name}_q"), *by], f"{name}_d")

    def weight(name, shape, axis):
        w = rng.integers(-100, 101, shape) + zero
        scale = rng.uniform(0.001, 0.02, shape[axis] if by_channel else ()).astype(np.float32)
        offset = np.full(scale.shape, zero, kind)
        by = [constant(f"{name}_s", scale), constant(f"{name}_z", offset)]
        return node("DequantizeLinear", [constant(name, w.astype(kind)), *by], f"{name}_d", axis=axis)

    x = around("x", "in", 0.02)
    x = around(node("Conv", [x, weight("w0", (CHANNELS, 3, 3, 3), 0)], "stem", pads=[1] * 4), "a", 0.05)
    x = around(node("Conv", [x, weight("w1", (CHANNELS, CHANNELS, 3, 3), 0)], "conv", pads=[1] * 4), "b", 0.2)
    x = around(node("GlobalAveragePool", [x], "pool"), "c", 0.1)
    y = node("MatMul", [node("Flatten", [x], "flat"), weight("w2", (CHANNELS, 12), 1)], "fc")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9, 7))
    graph = helper.make_graph(nodes, "g", [given], [helper.make_tensor_value_info(y, 1, (1, 12))], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def arrays(model: ir.Model) -> dict[str, np.ndarray]:
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


@pytest.mark.parametrize("pattern", ["1x1", "1x4", "4x1"])
@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize(("kind", "zero"), [("int8", 0), ("int8", 5), ("uint8", 128)])
def test_integers_become_their_zero_point_and_nothing_else_changes(kind, zero, by_channel, pattern):
    proto = network(kind, by_channel=by_channel, zero=zero)
    source = arrays(ir.from_proto(proto))

    result = prune(ir.from_proto(proto), 0.25, pattern=pattern)

    after, kept = arrays(result.model), 0
    assert {name for name in source if not np.array_equal(source[name], after[name])} == {"w1", "w2"}
    for name in ("w1", "w2"):
        gone = after[name] == zero
        assert after[name].dtype == kind and np.array_equal(after[name][~gone], source[name][~gone])
        kept += np.count_nonzero(~gone)
    total = after["w1"].size + after["w2"].size
    alive = sum(np.count_nonzero(source[name] != zero) for name in ("w1", "w2"))
    assert abs(kept - total / 4) <= total - alive + 4  # integers that were zero may be among those that stay
    assert result.report.prunable_density == pytest.approx(kept / total)
    x = {"x": np.random.default_rng(1).normal(size=(1, 3, 9, 7)).astype(np.float32)}
    assert np.isfinite(ort_run(result.model, x)[0]).all()


def test_the_numbers_count_that_integers_stand_for():
    """An output channel of large scale stays whole before one of a scale that is a thousandth."""
    proto = network()
    scales = next(each for each in proto.graph.initializer if each.name == "w1_s")
    scales.CopyFrom(numpy_helper.from_array(np.repeat(np.float32([1e-3, 1.0]), CHANNELS // 2), "w1_s"))

    after = arrays(prune(ir.from_proto(proto), {"conv": 0.5}).model)["w1"]

    assert not after[: CHANNELS // 2].any() or (after[CHANNELS // 2 :] != 0).mean() > 0.95


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.calibrated])
def test_methods_that_look_at_samples_round_to_the_same_scales(method):
    proto = network()
    samples = {"x": np.random.default_rng(2).normal(size=(8, 3, 9, 7)).astype(np.float32)}
    expected = ort_run(proto, {"x": samples["x"][:1]})[0]

    result = prune(ir.from_proto(proto), 0.5, method=method, pattern="1x4", calibration=samples)

    after = arrays(result.model)
    assert np.array_equal(after["w1_s"], arrays(ir.from_proto(proto))["w1_s"]) and after["w1"].dtype == np.int8
    assert (after["w1"] == 0).mean() == pytest.approx(0.5, abs=0.02)
    blind = prune(ir.from_proto(proto), 0.5, pattern="1x4")
    errors = [np.abs(ort_run(each.model, {"x": samples["x"][:1]})[0] - expected).max() for each in (result, blind)]
    assert errors[0] <= 1.5 * errors[1]


def test_weights_in_blocks_of_scales_say_why_they_stay():
    proto = network(opset=21)
    node = next(each for each in proto.graph.node if each.name == "w2_d")
    node.attribute.append(helper.make_attribute("block_size", 4))

    with pytest.raises(PruneError, match=r"quantized \(int8\) in a way that cannot be pruned"):
        prune(ir.from_proto(proto), {"fc": 0.5})


def test_a_pruned_model_of_integers_runs_sparse_and_gives_what_onnx_runtime_gives(tmp_path):
    onnx.save(network(), tmp_path / "dense.onnx")
    edgesparse.prune(tmp_path / "dense.onnx", tmp_path / "sparse.onnx", sparsity=0.9, pattern="1x4")

    edgesparse.compile(tmp_path / "sparse.onnx", "rpi5", tmp_path / "sparse.esp")

    x = {"x": np.random.default_rng(3).normal(size=(1, 3, 9, 7)).astype(np.float32)}
    (expected,) = ort_run(tmp_path / "sparse.onnx", x)
    (found,) = edgesparse.run(tmp_path / "sparse.esp", inputs=x).values()
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    symbols = [step.kernel for step in read(tmp_path / "sparse.esp").programs[0].steps]
    assert any("_i8_sparse_" in symbol for symbol in symbols)
