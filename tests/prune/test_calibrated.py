"""Pruning with calibration samples: what layers read, in which order they are pruned, and how much it helps."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.errors import PruneError
from edgesparse.frontend import read
from edgesparse.prune import prune
from edgesparse.prune import observe
from edgesparse.prune.observe import operand_of, second_moments
from edgesparse.prune.samples import check_samples
from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model
from tests.models import ort_run, real_model


def moments_of(source, samples):
    """Second moments of the only layer of a model."""
    (ref,) = find_weights(source)
    operand = operand_of(ref, source.graph)
    (part,) = second_moments(source, check_samples(source, samples), {ref.tensor: [operand]})
    return ref, part[ref.tensor]


def from_outputs(source, samples, ref):
    """The same from linearity alone: how the outputs answer to a weight matrix of one entry.

    Every place of the outputs is x[k] of its position then, for row 0 of each group.
    """
    groups = ref.group if ref.op == "Conv" else 1
    columns = []
    for k in range(ref.k):
        matrix = np.zeros((ref.m, ref.k), np.float32)
        matrix[:: ref.m // groups, k] = 1.0
        probe = source.clone()
        probe.graph.initializers[ref.tensor].const_value = ir.tensor(ref.from_matrix(matrix), name=ref.tensor)
        outputs = [ort_run(ir.to_proto(probe), feed) for feed in check_samples(source, samples).feeds()]
        columns.append(np.concatenate([next(iter(of.values())) for of in outputs]))
    x = np.stack(columns, axis=-1).astype(np.float64)
    if ref.op == "Conv":
        x = np.moveaxis(x[:, :: ref.m // groups], 1, 0)
    else:
        x = x[..., 0, :][None]
    x = x.reshape(groups, -1, ref.k)
    return np.stack([of.T @ of / len(of) for of in x])


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ("pads = [1, 1, 1, 1]", (6, 4, 3, 3)),
        ("strides = [2, 1], pads = [0, 1, 2, 0]", (6, 4, 3, 3)),
        ("dilations = [1, 2]", (3, 4, 2, 3)),
        ("group = 2", (6, 2, 3, 1)),
        ('auto_pad = "SAME_UPPER", strides = [2, 2]', (2, 4, 3, 3)),
        ('auto_pad = "SAME_LOWER", strides = [3, 2]', (2, 4, 2, 3)),
    ],
)
def test_a_convolution_reads_its_windows(attributes, shape):
    text = f"g (float[n, 4, 9, 7] x) => (float[n, c, h, v] y) {{ y = Conv <{attributes}> (x, w) }}"
    source, samples = model(text, w=floats(*shape)), {"x": floats(5, 4, 9, 7, seed=1)}

    ref, second = moments_of(source, samples)

    np.testing.assert_allclose(second, from_outputs(source, samples, ref), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "shape", "sample"),
    [
        ("g (float[n, 6] x) => (float[n, 5] y) { y = MatMul (x, w) }", (6, 5), (6,)),
        ("g (float[n, 7, 6] x) => (float[n, 7, 5] y) { y = MatMul (x, w) }", (6, 5), (7, 6)),
        ("g (float[n, 6] x) => (float[n, 5] y) { y = Gemm <transB = 1> (x, w) }", (5, 6), (6,)),
    ],
)
def test_a_product_reads_rows(text, shape, sample):
    source, samples = model(text, w=floats(*shape)), {"x": floats(9, *sample, seed=1)}

    ref, second = moments_of(source, samples)

    np.testing.assert_allclose(second, from_outputs(source, samples, ref), rtol=1e-4, atol=1e-5)


def test_a_weight_on_the_left_reads_columns():
    source = model("g (float[6, 7] x) => (float[5, 7] y) { y = MatMul (w, x) }", w=floats(5, 6))
    x = floats(4, 6, 7, seed=1)

    _, second = moments_of(source, {"x": x})

    columns = np.moveaxis(x, 1, 2).reshape(-1, 6).astype(np.float64)
    np.testing.assert_allclose(second[0], columns.T @ columns / len(columns), rtol=1e-5)


CHAIN = """g (float[n, 16] x) => (float[n, 8] y) {
    [first] a = MatMul (x, w1)
    r = Relu (a)
    [second] y = MatMul (r, w2)
}"""


def chain():
    return model(CHAIN, w1=floats(16, 12), w2=floats(12, 8, seed=1))


def correlated(count, width, seed=3):
    return (floats(count, width, seed=seed) @ floats(width, width, seed=seed + 1)).astype(np.float32)


def test_later_layers_see_what_was_pruned_before():
    samples = {"x": correlated(64, 16)}
    source = chain()
    refs = {ref.tensor: [operand_of(ref, source.graph)] for ref in find_weights(source)}

    parts = second_moments(source, check_samples(source, samples), refs)
    next(parts)
    source.graph.initializers["w1"].const_value = ir.tensor(np.zeros((16, 12), np.float32), name="w1")

    assert not next(parts)["w2"].any()


def test_moments_that_are_large_are_looked_at_one_by_one(monkeypatch):
    source = chain()
    refs = {ref.tensor: [operand_of(ref, source.graph)] for ref in find_weights(source)}
    samples = check_samples(source, {"x": correlated(64, 16)})
    monkeypatch.setattr(observe, "PASSES", 1)

    assert [list(part) for part in second_moments(source, samples, refs)] == [["w1", "w2"]]

    monkeypatch.setattr(observe, "MOMENT_BYTES", 1)
    assert [list(part) for part in second_moments(source, samples, refs)] == [["w1"], ["w2"]]


@pytest.mark.parametrize("pattern", ["1x1", "4x1", "1x4", "2:4"])
def test_sparsegpt_loses_less_than_wanda_and_that_less_than_magnitude(pattern):
    source, train, test = chain(), correlated(256, 16), correlated(64, 16, seed=3)
    exact = ort_run(ir.to_proto(source), {"x": test})["y"]

    def error(**options):
        density = None if pattern == "2:4" else 0.5
        pruned = prune(source, density, pattern=pattern, calibration={"x": train}, **options)
        assert pruned.report.prunable_density == pytest.approx(0.5, abs=0.01)
        return np.linalg.norm(ort_run(ir.to_proto(pruned.model), {"x": test})["y"] - exact)

    assert error(method="sparsegpt") < error(method="wanda") < error(method="magnitude")
    assert error(method="wanda", reconstruct=True) < error(method="wanda")
    assert error(method="magnitude", reconstruct=True) < error(method="magnitude")


def test_the_report_says_how_far_outputs_moved():
    source, x = chain(), correlated(256, 16)

    report = prune(source, {"first": 0.5}, method="wanda", calibration={"x": x}).report

    first, second = report.layers
    pruned = prune(source, {"first": 0.5}, method="wanda", calibration={"x": x}).model
    weight = source.graph.initializers["w1"].const_value.numpy().astype(np.float64)
    change = pruned.graph.initializers["w1"].const_value.numpy() - weight
    assert first.output_error == pytest.approx(np.sum((x @ change) ** 2) / np.sum((x @ weight) ** 2), rel=1e-4)
    assert second.output_error is None


def test_what_calibration_cannot_see_goes_by_magnitude_and_says_so():
    text = "g (float[n, 4, 5, 5] x) => (float[n, c, h, v] y) { y = ConvTranspose (x, w) }"

    row = prune(model(text, w=floats(4, 6, 3, 3)), 0.5, method="wanda", calibration={"x": floats(3, 4, 5, 5)}).report.layers[0]

    assert row.note == "by magnitude: calibration does not look into ConvTranspose"
    assert row.nnz_after == row.size // 2


def test_layers_that_share_a_weight_are_judged_by_what_all_of_them_read():
    text = """g (float[n, 4] x) => (float[n, 4] y) {
        a = MatMul (x, w)
        y = MatMul (a, w)
    }"""
    weight, x = floats(4, 4), floats(32, 4, seed=2)
    source = model(text, w=weight)
    refs = find_weights(source)

    operands = {"w": [operand_of(ref, source.graph) for ref in refs]}
    (part,) = second_moments(source, check_samples(source, {"x": x}), operands)

    both = np.concatenate([x, x @ weight]).astype(np.float64)
    np.testing.assert_allclose(part["w"][0], both.T @ both / len(both), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "wanda"}, "method 'wanda' needs calibration: samples of every input"),
        ({"reconstruct": True}, "reconstruct needs calibration"),
    ],
)
def test_calibration_is_asked_for(options, message):
    with pytest.raises(PruneError, match=message):
        prune(chain(), 0.5, **options)


def test_samples_that_the_model_cannot_run_are_an_error():
    text = "g (float[n, m] x) => (float[n, 5] y) { y = MatMul (x, w) z = MatMul (y, v) }"

    with pytest.raises(PruneError, match="calibration: ONNX Runtime cannot run the model on the samples"):
        prune(model(text, w=floats(6, 5), v=floats(5, 4)), 0.5, method="wanda", calibration={"x": floats(3, 7)})


def test_a_trained_network_keeps_more_of_its_outputs():
    source = read(real_model("cifar10_resnet20"))
    (name,) = (value.name for value in source.graph.inputs if value.name not in source.graph.initializers)
    shape = [size if isinstance(size, int) else 1 for size in source.graph.inputs[0].shape][1:]
    samples = np.random.default_rng(0).standard_normal((24, *shape)).astype(np.float32)
    samples = np.cumsum(samples, axis=-1)  # neighbours are alike, as in pictures
    train, test = {name: samples[:16]}, samples[16:]

    def outputs(proto):
        return np.concatenate([next(iter(ort_run(proto, {name: one[None]}).values())) for one in test])

    exact = outputs(ir.to_proto(source))
    errors = {
        method: np.linalg.norm(
            outputs(ir.to_proto(prune(source, 0.5, method=method, calibration=train).model)) - exact
        )
        for method in ("magnitude", "wanda", "sparsegpt")
    }

    assert errors["sparsegpt"] < min(errors["wanda"], errors["magnitude"])
