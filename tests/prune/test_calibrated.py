"""Pruning with calibration samples: what layers read, in which order they are pruned, and how much it helps."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse import reference
from edgesparse.errors import PruneError
from edgesparse.frontend import read
from edgesparse.prune import carry, prune, prune_alone, unfold
from edgesparse.prune.observe import observe, read_of
from edgesparse.prune.samples import check_samples
from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model
from tests.models import ort_run, real_model


def moments_of(source, samples):
    """Second moments of the only layer of a model."""
    (ref,) = find_weights(source)
    reads = {ref.tensor: [read_of(ref, source.graph)]}
    ((_, moments),) = observe(source, check_samples(source, samples), reads)
    return ref, moments.second


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
        outputs = [ort_run(probe, feed) for feed in check_samples(source, samples).feeds()]
        columns.append(np.concatenate([y for (y,) in outputs]))
    x = np.stack(columns, axis=-1).astype(np.float64)
    x = np.moveaxis(x[:, :: ref.m // groups], 1, 0) if ref.op == "Conv" else x[..., 0, :]
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
        ("g (float[6, 3] x) => (float[3, 5] y) { y = Gemm <transA = 1> (x, w) }", (6, 5), (6, 3)),
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
    np.testing.assert_allclose(second[0], columns.T @ columns / len(columns), rtol=1e-5, atol=1e-6)


def test_every_matrix_of_a_batched_product_reads_its_own():
    source = model("g (float[3, 7, 6] x) => (float[3, 7, 5] y) { y = MatMul (x, w) }", w=floats(3, 6, 5))
    x = floats(4, 3, 7, 6, seed=1)

    _, second = moments_of(source, {"x": x})

    rows = x.swapaxes(0, 1).reshape(3, -1, 6).astype(np.float64)
    np.testing.assert_allclose(second, rows.swapaxes(1, 2) @ rows / 28, rtol=1e-5, atol=1e-6)


def test_a_convolution_over_time_reads_its_windows():
    source = model("g (float[n, 2, 9] x) => (float[n, 3, 4] y) { y = Conv <strides = [2]> (x, w) }", w=floats(3, 2, 3))
    x = floats(4, 2, 9, seed=1)

    _, second = moments_of(source, {"x": x})

    rows = np.stack([x[:, :, at : at + 3].reshape(4, 6) for at in (0, 2, 4, 6)]).reshape(-1, 6).astype(np.float64)
    np.testing.assert_allclose(second[0], rows.T @ rows / len(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 5])
def test_large_maps_are_looked_at_in_part_and_evenly(monkeypatch, batch):
    monkeypatch.setattr(unfold, "POSITIONS", 100)
    monkeypatch.setattr(unfold, "POSITIONS_PER_INPUT", 1)
    conv = unfold.Convolution((1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)))
    where = np.arange(400.0).reshape(20, 20)[None, None].repeat(batch, axis=0)

    rows = conv.rows(where, unfold.Sampling(samples=10, batch=batch)).reshape(batch, 10)

    assert (np.diff(rows, axis=1) >= 39).all()
    assert (np.diff(rows, axis=1) <= 41).all()
    assert len({tuple(row) for row in rows}) == batch
    again = conv.rows(where, unfold.Sampling(samples=10, batch=batch)).reshape(batch, 10)
    np.testing.assert_array_equal(rows, again)


def test_long_sequences_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr(unfold, "POSITIONS", 100)
    monkeypatch.setattr(unfold, "POSITIONS_PER_INPUT", 1)
    x = np.arange(400.0).reshape(400, 1)

    rows = unfold.Product().rows(x, unfold.Sampling(samples=10)).reshape(-1)

    np.testing.assert_array_equal(rows, np.arange(0, 400, 40))


CHAIN = """g (float[n, 16] x) => (float[n, 8] y) {
    [first] a = MatMul (x, w1)
    r = Relu (a)
    [second] y = MatMul (r, w2)
}"""


def chain():
    return model(CHAIN, w1=floats(16, 12), w2=floats(12, 8, seed=1))


def correlated(count, width, seed=3):
    """Inputs that go with each other, some of them strong."""
    mixed = floats(count, width, seed=seed) @ floats(width, width, seed=9)
    return (mixed * np.geomspace(0.2, 5.0, width)).astype(np.float32)


def test_later_layers_see_what_was_pruned_before():
    samples = {"x": correlated(64, 16)}
    source = chain()
    reads = {ref.tensor: [read_of(ref, source.graph)] for ref in find_weights(source)}

    layers = observe(source, check_samples(source, samples), reads)
    next(layers)
    source.graph.initializers["w1"].const_value = ir.tensor(np.zeros((16, 12), np.float32), name="w1")
    tensor, moments = next(layers)

    assert tensor == "w2"
    assert not moments.second.any()


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_a_weight_alone_is_pruned_as_if_nothing_else_were(method, monkeypatch):
    source, samples, tensors = chain(), {"x": correlated(64, 16)}, ("w1", "w2")
    runs, run = [], reference.Session.run
    monkeypatch.setattr(reference.Session, "run", lambda *given: runs.append(1) or run(*given))

    found = prune_alone(source, (1.0, 0.5, 0.2), tensors, method=method, calibration=samples)

    layers_run = {"magnitude": 0, "wanda": 2, "sparsegpt": 2}[method]
    assert len(runs) == layers_run * 64 // carry.BATCH  # each part of the network once
    for ref in find_weights(source):
        np.testing.assert_array_equal(found[0][ref.tensor], ref.array())
        for share, arrays in zip((0.5, 0.2), found[1:], strict=True):
            pruned = prune(source, {ref.node: share}, method=method, calibration=samples).model
            expected = pruned.graph.initializers[ref.tensor].const_value.numpy()
            np.testing.assert_allclose(arrays[ref.tensor], expected, rtol=1e-5, atol=1e-6)


def test_a_weight_alone_that_calibration_cannot_see_goes_by_magnitude():
    text = 'g (float[n, 4, 5, 5] x) => (float[n, c, h, v] y) { y = ConvTranspose <auto_pad = "SAME_UPPER"> (x, w) }'
    weight = floats(4, 6, 3, 3)
    samples = {"x": floats(3, 4, 5, 5)}

    (arrays,) = prune_alone(model(text, w=weight), (0.5,), ("w",), method="wanda", calibration=samples)

    np.testing.assert_array_equal(arrays["w"], np.where(abs(weight) >= np.median(abs(weight)), weight, 0))


@pytest.mark.parametrize("pattern", ["1x1", "4x1", "1x4", "2:4"])
def test_sparsegpt_loses_less_than_wanda_and_that_less_than_magnitude(pattern):
    source, train, test = chain(), correlated(256, 16), correlated(64, 16, seed=4)
    exact = ort_run(source, {"x": test})[0]

    def error(**options):
        density = None if pattern == "2:4" else 0.5
        pruned = prune(source, density, pattern=pattern, calibration={"x": train}, **options)
        assert pruned.report.prunable_density == pytest.approx(0.5, abs=0.01)
        return np.linalg.norm(ort_run(pruned.model, {"x": test})[0] - exact)

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


@pytest.mark.parametrize("columns", [16, 24])
@pytest.mark.parametrize("method", ["admm", "sparsegpt", "wanda"])
def test_a_weight_that_two_layers_read_as_different_matrices_goes_by_magnitude(method, columns):
    """What an autoencoder with tied weights is: one matrix, and the other way round."""
    text = f"""g (float[7, {columns}] x) => (float[7, {columns}] y) {{
        [first] a = Gemm <transB = 1> (x, w) t = Tanh (a) [second] y = Gemm (t, w) }}"""
    source, samples = model(text, w=floats(16, columns)), {"x": floats(40, 7, columns, seed=1)}

    result = prune(source, 0.9, method=method, calibration=samples)

    (row,) = result.report.layers
    assert row.note == "by magnitude: second reads it as another matrix"
    kept = np.sort(source.graph.initializers["w"].const_value.numpy().ravel())
    pruned = result.model.graph.initializers["w"].const_value.numpy()
    assert (
        set(pruned[pruned != 0]) <= set(kept)
        and np.abs(pruned[pruned != 0]).min() >= np.sort(np.abs(kept))[-row.nnz_after]
    )


def test_what_calibration_cannot_see_goes_by_magnitude_and_says_so():
    text = 'g (float[n, 4, 5, 5] x) => (float[n, c, h, v] y) { y = ConvTranspose <auto_pad = "SAME_UPPER"> (x, w) }'

    row = prune(
        model(text, w=floats(4, 6, 3, 3)), 0.5, method="wanda", calibration={"x": floats(3, 4, 5, 5)}
    ).report.layers[0]

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

    reads = {"w": [read_of(ref, source.graph) for ref in refs]}
    ((_, moments),) = observe(source, check_samples(source, {"x": x}), reads)

    both = np.concatenate([x, x @ weight]).astype(np.float64)
    np.testing.assert_allclose(moments.second[0], both.T @ both / len(both), rtol=1e-5, atol=1e-6)


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
    with pytest.raises(PruneError, match=message):
        prune_alone(chain(), (0.5,), ("w1",), **options)


def test_samples_that_the_model_cannot_run_are_an_error():
    text = "g (float[n, m] x) => (float[n, 5] y) { z = MatMul (x, v) y = MatMul (z, w) }"

    source = model(text, v=floats(6, 5), w=floats(5, 5))
    with pytest.raises(PruneError, match="calibration: ONNX Runtime cannot run the model"):
        prune(source, 0.5, method="wanda", skip=["v"], calibration={"x": floats(3, 7)})


@pytest.mark.parametrize(
    ("text", "shape", "sample"),
    [
        ("g (float[n, m] x) => (float[n, 5] y) { [y] y = MatMul (x, w) }", (6, 5), (7,)),
        ("g (float[n, m, 5, 5] x) => (float[n, 4, 5, 5] y) { [y] y = Conv (x, w) }", (4, 6, 1, 1), (8, 5, 5)),
    ],
)
def test_samples_that_do_not_fit_a_weight_are_an_error(text, shape, sample):
    with pytest.raises(PruneError, match=r"calibration: x: got \d inputs, expected 6"):
        prune(model(text, w=floats(*shape)), {"y": 0.5}, method="wanda", calibration={"x": floats(3, *sample)})


def test_a_trained_network_keeps_more_of_its_outputs():
    source = read(real_model("cifar10_resnet20"))
    (name,) = (value.name for value in source.graph.inputs if value.name not in source.graph.initializers)
    shape = [size if isinstance(size, int) else 1 for size in source.graph.inputs[0].shape][1:]
    samples = np.random.default_rng(0).standard_normal((24, *shape)).astype(np.float32)
    samples = np.cumsum(samples, axis=-1)  # neighbours are alike, as in pictures
    train, test = {name: samples[:16]}, samples[16:]

    def outputs(network):
        return np.concatenate([ort_run(network, {name: one[None]})[0] for one in test])

    exact = outputs(source)
    errors = {
        method: np.linalg.norm(outputs(prune(source, 0.5, method=method, calibration=train).model) - exact)
        for method in ("magnitude", "wanda", "sparsegpt")
    }

    assert errors["sparsegpt"] < min(errors["wanda"], errors["magnitude"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "calibration: x: sample 3 holds nan, expected float32 numbers"),
        (1e300, r"calibration: x: sample 3 holds 1e\+300, expected float32 numbers"),
        (np.inf, "calibration: what is multiplied with w1 is infinite, not a number"),
        (1e30, "calibration: what is multiplied with w1 is infinite, not a number"),
    ],
)
def test_samples_that_overflow_are_an_error(bad, message):
    x = correlated(8, 16).astype(np.float64)
    x[3, 2] = bad

    with pytest.raises(PruneError, match=message):
        prune(chain(), 0.5, method="sparsegpt", calibration={"x": x})


@pytest.mark.parametrize("pattern", ["1x1", "2:4"])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "admm", "magnitude"])
def test_inputs_that_never_vary_leave_their_mean_to_the_bias(method, pattern):
    """A time step, a style, a single sample: nothing is known of such a column but its mean."""
    text = """g (float[n, 8] x, float[n, 8] t) => (float[n, 8] y) {
        a = Gemm <transB = 1> (x, w, b) c = Gemm <transB = 1> (t, v, d)
        s = Add (a, c) y = Gemm <transB = 1> (s, o, e) }"""
    weights = {name: floats(8, 8, seed=at) for at, name in enumerate("wvo")}
    source = model(text, **weights, **{name: floats(8, seed=at) for at, name in enumerate("bde")})
    steady = np.tile(np.arange(1, 9, dtype=np.float32) * np.float32(0.7), (64, 1))

    for x in (floats(64, 8, seed=5), steady, floats(1, 8), np.zeros((64, 8), np.float32)):
        samples = {"x": x, "t": steady[: len(x)]}
        density = None if pattern == "2:4" else 0.5
        result = prune(
            source, density, method=method, pattern=pattern, calibration=samples, reconstruct=method == "magnitude"
        )

        (exact,), (found,) = ort_run(source, samples), ort_run(result.model, samples)
        assert np.isfinite(found).all()
        if method in ("admm", "sparsegpt"):  # which match outputs, and have biases for it
            np.testing.assert_allclose(found.mean(axis=0), exact.mean(axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ("uint8", np.array([[1, 2], [3, 256]], np.uint16), "sample 1 holds 256, expected uint8 numbers"),
        ("int32", np.array([[1, 2], [2**32, 4]]), "sample 1 holds 4294967296, expected int32 numbers"),
        ("uint8", np.array([[1, 2], [3, 255]], np.uint16), None),
        ("int32", np.array([[1, 2], [-(2**31), 4]]), None),
    ],
)
def test_integers_are_not_wrapped_into_the_type_of_an_input(declared, given, message):
    source = model(
        f"g ({declared}[n, 2] x) => (float[n, 3] y) {{ c = Cast <to = 1> (x) y = MatMul (c, w) }}", w=floats(2, 3)
    )

    if message is None:
        prune(source, 0.5, method="wanda", calibration={"x": given})
    else:
        with pytest.raises(PruneError, match=f"calibration: x: {message}"):
            prune(source, 0.5, method="wanda", calibration={"x": given})
