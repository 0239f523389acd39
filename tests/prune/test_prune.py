"""Pruning: exact counts, only what was asked for, and a model that ONNX Runtime opens."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse.errors import PruneError
from edgesparse.frontend import load, read
from edgesparse.prune import ALLOCATIONS, prune
from edgesparse.sparsity.patterns import Block
from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model
from tests.models import ONNX_DATA, REAL_NAMES, assert_close, ort_run, random_inputs, real_model

TEXT = """g (float[1, 3, 8, 8] x) => (float[1, 10] y) {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w_stem)
    [depth] d = Conv <group = 8, pads = [1, 1, 1, 1]> (a, w_depth)
    [point] p = Conv (d, w_point)
    [flat] f = Flatten (p)
    [fc1] h = Gemm <transB = 1> (f, w_fc1)
    [fc2] y = MatMul (h, w_fc2)
}"""


def network(**changes):
    weights = {
        "w_stem": floats(8, 3, 3, 3),
        "w_depth": floats(8, 1, 3, 3),
        "w_point": floats(16, 8, 1, 1, seed=1),
        "w_fc1": floats(20, 1024, seed=2),
        "w_fc2": floats(20, 10, seed=3),
    }
    return model(TEXT, **(weights | changes))


def arrays(pruned):
    return {name: value.const_value.numpy() for name, value in pruned.graph.initializers.items()}


PRUNABLE = ("w_point", "w_fc1", "w_fc2")


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.037])
def test_every_allocation_meets_the_density_exactly(allocation, density):
    result = prune(network(), density, allocation=allocation)

    after = arrays(result.model)
    total = sum(after[name].size for name in PRUNABLE)
    assert sum(np.count_nonzero(after[name]) for name in PRUNABLE) == round(density * total)
    assert result.report.prunable_density == pytest.approx(density, abs=1 / total)


def test_the_largest_weights_stay():
    source = network()

    after = arrays(prune(source, 0.25).model)["w_point"]

    before = np.abs(arrays(source)["w_point"])
    assert before[after != 0].min() > before[after == 0].max()


def test_first_and_depthwise_convolutions_stay_dense():
    result = prune(network(), 0.1)

    notes = {row.tensor: row.note for row in result.report.layers}
    assert notes["w_stem"] == "first convolution"
    assert notes["w_depth"] == "depthwise convolution"
    np.testing.assert_array_equal(arrays(result.model)["w_stem"], floats(8, 3, 3, 3))


@pytest.mark.parametrize("skip", ["fc2", "w_fc2", "*fc2"])
def test_skipped_layers_stay_dense(skip):
    result = prune(network(), 0.1, skip=[skip])

    assert np.count_nonzero(arrays(result.model)["w_fc2"]) == 200
    assert {row.tensor: row.note for row in result.report.layers}["w_fc2"] == "skipped by name"


def test_a_skip_that_matches_nothing_lists_the_layers():
    with pytest.raises(PruneError, match="'head' matches no layer; there are stem, depth, point, fc1, fc2"):
        prune(network(), 0.5, skip=["fc1", "head"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density must be above 0 and at most 1"),
        ({"density": 1.5}, "density must be above 0"),
        ({"density": float("nan")}, "density must be above 0"),
        ({"density": 0.5, "method": "magic"}, "method 'magic' is unknown; expected one of admm, magnitude"),
        (
            {"density": 0.5, "allocation": "fair"},
            "allocation 'fair' is unknown; .* erk, global, lamp, uniform",
        ),
        ({"density": 0.5, "pattern": "2by4"}, "pattern '2by4' is unknown"),
        ({}, "pattern 1x1 does not say how many weights stay; give a density"),
        ({"density": 0.2, "pattern": "2:4"}, "pattern 2:4 has sparsity 0.5, got 0.8; leave it out"),
        ({"density": {"fc1": 0.0}}, "fc1: density must be above 0 and at most 1"),
        ({"density": {"fc1": 0.3}, "pattern": "2:4"}, "fc1: pattern 2:4 has sparsity 0.5, got 0.7"),
        ({"density": {"fc3": 0.3}}, "density of 'fc3': no such layer; there are stem, depth, point, fc1, fc2"),
        ({"density": 0.5, "skip": ["*"]}, "no layer can be pruned: .*w_fc1: skipped by name"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PruneError, match=message):
        prune(network(), **options)


def test_a_model_without_weights_is_refused():
    with pytest.raises(PruneError, match="has no convolution or product with constant weights"):
        prune(model("g (float[4] x) => (float[4] y) { y = Relu (x) }"), 0.5)


def test_input_model_is_untouched_and_the_rest_is_identical():
    source = network()
    before = ir.to_proto(source).SerializeToString()

    result = prune(source, 0.1)

    assert ir.to_proto(source).SerializeToString() == before
    old, new = onnx.ModelProto.FromString(before), ir.to_proto(result.model)
    pruned = {row.tensor for row in result.report.layers if row.prunable}
    for tensor in new.graph.initializer:
        if tensor.name in pruned:
            tensor.CopyFrom(next(kept for kept in old.graph.initializer if kept.name == tensor.name))
    assert [node.SerializeToString() for node in new.graph.node] == [n.SerializeToString() for n in old.graph.node]
    assert list(new.graph.initializer) == list(old.graph.initializer)


def test_equal_weights_stay_in_order_of_index():
    flat = np.ones((4, 5), np.float32)
    source = model("g (float[1, 4] x) => (float[1, 5] y) { y = Gemm <transB = 1> (x, w) }", w=flat.reshape(5, 4))

    after = arrays(prune(source, 0.35).model)["w"].reshape(-1)

    np.testing.assert_array_equal(np.flatnonzero(after), np.arange(7))


def test_zeros_are_never_revived():
    weight = floats(20, 1024, seed=2)
    weight[np.random.default_rng(0).random(weight.shape) < 0.9] = 0
    kept = np.count_nonzero(weight)

    result = prune(network(w_fc1=weight), 0.5)

    np.testing.assert_array_equal(arrays(result.model)["w_fc1"], weight)
    row = next(row for row in result.report.layers if row.tensor == "w_fc1")
    assert (row.nnz_before, row.nnz_after) == (kept, kept)
    assert "its zeros are kept" in row.note


@pytest.mark.parametrize("pattern", ["4x1", "1x4", "2x2"])
def test_blocks_go_together(pattern):
    result = prune(network(), 0.25, pattern=pattern)

    rows, columns = map(int, pattern.split("x"))
    for ref in find_weights(result.model):
        if ref.tensor in ("w_point", "w_fc1"):
            assert Block(rows, columns).check(ref.to_matrix(ref.array()))
            assert ref.density == pytest.approx(0.25, abs=0.02)


def test_a_pattern_that_does_not_divide_a_layer_skips_it_with_a_reason():
    result = prune(network(), 0.25, pattern="4x1")

    notes = {row.tensor: row.note for row in result.report.layers}
    assert notes["w_fc2"] == "pattern 4x1 needs output channels in multiples of 4; there are 10"


@pytest.mark.parametrize("pattern", ["2:4", "1:2", "3:5"])
def test_n_of_m_fixes_the_density(pattern):
    result = prune(network(w_fc1=floats(20, 1020, seed=2), w_point=floats(15, 8, 1, 1)), pattern=pattern)

    n, m = map(int, pattern.split(":"))
    for ref in find_weights(result.model):
        groups = np.count_nonzero(ref.to_matrix(ref.array()).reshape(ref.m, -1, m), axis=2) if ref.k % m == 0 else None
        if ref.tensor in ("w_fc1", "w_fc2") or (ref.tensor == "w_point" and ref.k % m == 0):
            assert (groups == n).all()
    assert result.report.density == n / m


def test_n_of_m_counts_input_channels_and_not_places_of_the_window():
    text = """g (float[1, 3, 6, 6] x) => (float[1, 5, 2, 2] y) {
        a = Conv (x, stem) y = Conv (a, w)
    }"""
    source = model(text, stem=floats(8, 3, 3, 3), w=floats(5, 8, 3, 3))

    after = arrays(prune(source, pattern="2:4").model)["w"]

    assert (np.count_nonzero(after.reshape(5, 2, 4, 3, 3), axis=2) == 2).all()


def test_n_of_m_needs_channels_in_groups():
    result = prune(network(w_point=floats(16, 8, 1, 1)), pattern="3:5")

    notes = {row.tensor: row.note for row in result.report.layers}
    assert notes["w_point"] == "pattern 3:5 needs input channels in multiples of 5; there are 8"


def test_densities_by_name_hold_layer_by_layer():
    result = prune(network(), {"fc1": 0.25, "depth": 0.5, "fc2": 1.0})

    after = {name: np.count_nonzero(array) / array.size for name, array in arrays(result.model).items()}
    assert after == {"w_stem": 1.0, "w_depth": 0.5, "w_point": 1.0, "w_fc1": 0.25, "w_fc2": 1.0}
    notes = {row.tensor: row.note for row in result.report.layers}
    assert notes["w_point"] == "no density by its name" and result.report.density is None


def test_a_density_by_name_takes_n_of_m_there_only():
    after = arrays(prune(network(), {"fc1": 0.5}, pattern="2:4").model)

    assert np.count_nonzero(after["w_fc1"]) == 20 * 512 and np.count_nonzero(after["w_fc2"]) == 200


def test_layers_that_share_a_weight_need_one_density():
    text = "g (float[2, 6] x) => (float[2, 6] y) { [one] a = MatMul (x, w) [two] y = MatMul (a, w) }"
    source = model(text, w=floats(6, 6))

    assert np.count_nonzero(arrays(prune(source, {"two": 0.5}).model)["w"]) == 18
    with pytest.raises(PruneError, match="density of 'two': got 0.3, but the layer shares its weight .* have 0.5"):
        prune(source, {"one": 0.5, "two": 0.3})


def test_naming_a_layer_that_cannot_be_pruned_is_refused():
    text = """g (int64[3] i, float[3, 6] z) => (float[3, 9] y) {
        e = Gather (table, i) [tied] y = Gemm <transB = 1> (e, table)
    }"""

    with pytest.raises(PruneError, match="density of 'tied': the layer cannot be pruned: shared with Gather"):
        prune(model(text, table=floats(9, 6)), {"tied": 0.5})


def test_a_tensor_that_another_operator_reads_stays_dense():
    text = """g (int64[3] i, float[3, 6] z) => (float[3, 9] y, float[3, 5] v) {
        e = Gather (table, i)
        y = Gemm <transB = 1> (e, table)
        v = MatMul (z, w)
    }"""

    result = prune(model(text, table=floats(9, 6), w=floats(6, 5)), 0.5)

    assert {row.tensor: row.note for row in result.report.layers} == {"table": "shared with Gather", "w": None}


def test_a_tensor_that_two_layers_share_is_pruned_once():
    text = "g (float[2, 6] x) => (float[2, 6] y) { [one] a = MatMul (x, w) [two] y = MatMul (a, w) }"

    result = prune(model(text, w=floats(6, 6)), 0.5)

    assert len(result.report.layers) == 1
    assert np.count_nonzero(arrays(result.model)["w"]) == 18


def test_skipping_one_of_two_sharing_layers_keeps_both():
    text = """g (float[2, 6] x) => (float[2, 6] y) {
        [one] a = MatMul (x, w) [two] b = MatMul (a, w) [three] y = MatMul (b, v)
    }"""

    result = prune(model(text, w=floats(6, 6), v=floats(6, 6)), 0.5, skip=["two"])

    assert np.count_nonzero(arrays(result.model)["w"]) == 36


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_dtype_is_kept(dtype):
    kind = {np.float16: "float16", np.float64: "double"}[dtype]
    source = model(f"g ({kind}[2, 6] x) => ({kind}[2, 6] y) {{ y = MatMul (x, w) }}", w=floats(6, 6).astype(dtype))

    after = arrays(prune(source, 0.5).model)["w"]

    assert after.dtype == dtype and np.count_nonzero(after) == 18


def test_weights_in_constant_nodes_are_pruned():
    proto = ir.to_proto(model("g (float[2, 6] x) => (float[2, 6] y) { y = MatMul (x, w) }"))
    node = onnx.helper.make_node("Constant", [], ["w"], name="c", value=onnx.numpy_helper.from_array(floats(6, 6)))
    proto.graph.node.insert(0, node)

    result = prune(ir.from_proto(proto), 0.5)

    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    (ref,) = find_weights(result.model)
    assert (ref.nnz, ref.tensor, result.model.graph[0].name) == (18, "w", "c")


@pytest.mark.parametrize("name", REAL_NAMES)
def test_real_model_stays_valid_and_compiles_to_the_same(name):
    result = prune(read(real_model(name)), 0.2)

    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    shapes = {"input": (1, 512), "state": (2, 1, 128)} if "silero" in name else None
    normal = load(result.model, shapes)
    inputs = random_inputs(normal)
    for actual, expected in zip(ort_run(normal, inputs), ort_run(result.model, inputs), strict=True):
        assert_close(actual, expected)
    assert result.report.prunable_density == pytest.approx(0.2, abs=0.01)


def test_weights_made_by_constant_of_shape_are_pruned():
    result = prune(read(ONNX_DATA / "light" / "light_squeezenet.onnx"), 0.2)

    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert result.report.prunable_density == pytest.approx(0.2, abs=1e-5)


def test_pruning_without_saying_how_much_is_rejected(tmp_path):
    with pytest.raises(PruneError, match="method says how to prune, and nothing says how much"):
        edgesparse.prune(tmp_path / "model.onnx", tmp_path / "sparse.onnx", method="magnitude")
