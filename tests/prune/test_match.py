"""Layers that make up for those before them: fitted to the dense network on what the pruned one brings."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse import reference
from edgesparse.errors import PruneError
from edgesparse.prune import carry as carrying
from edgesparse.prune import prune
from edgesparse.prune.carry import Stop, carry
from edgesparse.prune.observe import observe, read_of
from edgesparse.prune.samples import check_samples
from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model
from tests.models import ort_run
from tests.prune.test_calibrated import correlated

METHODS = ["sparsegpt", "admm"]


def weights(network):
    return {name: value.const_value.numpy().astype(np.float64) for name, value in network.graph.initializers.items()}


def least_squares(x, t, mask, start):
    """Rows v with zeros outside `mask` [M, K] that take x [P, K] to t [P, M], damped towards `start` as pruning is."""
    mu, mean = x.mean(0), t.mean(0)
    x, t = x - mu, t - mean
    hessian = x.T @ x / len(x)
    ridge = 0.01 * hessian.diagonal().mean() * np.eye(len(hessian))
    goal = start + (t.T @ x / len(x) - start @ hessian) @ np.linalg.inv(hessian + ridge)
    result = np.zeros(mask.shape)
    for row, keep in enumerate(mask):
        inner = (hessian + ridge)[np.ix_(keep, keep)]
        result[row, keep] = np.linalg.solve(inner, (goal[row] @ (hessian + ridge))[keep])
    return result, mean - result @ mu


TEXT = """g (float[n, 12] x) => (float[n, 6] y) {
    [first] a = Gemm (x, w1, b1)
    r = Relu (a)
    [second] z = Gemm (r, w2, b2)
    y = Add (z, s)
}"""
RESIDUAL = """g (float[n, 12] x) => (float[n, 12] y) {
    [first] a = Gemm (x, w1, b1)
    r = Relu (a)
    [second] z = MatMul (r, w2)
    q = Add (z, b2)
    y = Add (q, r)
}"""


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_is_fitted_to_the_dense_outputs_on_pruned_inputs(method):
    x = correlated(300, 12)
    source = model(TEXT, w1=floats(12, 10), b1=floats(10), w2=floats(10, 6, seed=1), b2=floats(6), s=floats(6, seed=2))

    found = weights(prune(source, {"first": 0.4, "second": 0.4}, method=method, calibration={"x": x}).model)

    dense = weights(source)
    first = np.maximum(x @ found["w1"] + found["b1"], 0)
    goal = np.maximum(x @ dense["w1"] + dense["b1"], 0) @ dense["w2"] + dense["b2"]
    expected, bias = least_squares(first, goal, found["w2"].T != 0, dense["w2"].T)
    np.testing.assert_allclose(found["w2"].T, expected, atol=2e-4)
    np.testing.assert_allclose(found["b2"], bias, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_makes_up_for_the_residual_it_meets(method):
    x = correlated(300, 12)
    source = model(RESIDUAL, w1=floats(12, 12), b1=floats(12), w2=floats(12, 12, seed=1), b2=floats(12, seed=2))

    found = weights(prune(source, {"first": 0.3, "second": 0.5}, method=method, calibration={"x": x}).model)

    dense = weights(source)
    mine = np.maximum(x @ found["w1"] + found["b1"], 0)
    theirs = np.maximum(x @ dense["w1"] + dense["b1"], 0)
    expected, bias = least_squares(mine, theirs @ dense["w2"] + theirs - mine, found["w2"].T != 0, dense["w2"].T)
    np.testing.assert_allclose(found["w2"].T, expected, atol=2e-4)
    np.testing.assert_allclose(found["b2"], bias + dense["b2"], atol=2e-3)


def test_a_convolution_without_a_bias_gets_one_and_keeps_the_mean_of_its_channels():
    text = "g (float[n, 4, 9, 7] x) => (float[n, c, h, v] y) { [only] y = Conv <pads = [1, 1, 1, 1]> (x, w) }"
    source, x = model(text, w=floats(6, 4, 3, 3)), floats(40, 4, 9, 7, seed=1) + 1.0

    pruned = prune(source, {"only": 0.2}, method="admm", calibration={"x": x}).model

    before, after = ort_run(source, {"x": x})[0], ort_run(pruned, {"x": x})[0]
    np.testing.assert_allclose(after.mean((0, 2, 3)), before.mean((0, 2, 3)), atol=1e-3)
    moved = prune(source, {"only": 0.2}, method="admm", match="own", calibration={"x": x}).model
    assert len(next(iter(moved.graph)).inputs) == 2


WINDOWS = {
    "plain": "",
    "strided": "strides = [2, 1], pads = [1, 0, 1, 2]",
    "dilated": "dilations = [1, 2], strides = [2, 3], output_padding = [1, 2]",
    "cut": "strides = [3, 2], pads = [4, 3, 2, 0]",
}


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_transposed_convolution_that_nothing_was_taken_from_is_fitted_to_itself(window, group):
    attributes = f"<group = {group}{', ' * bool(WINDOWS[window])}{WINDOWS[window]}>"
    text = f"g (float[n, 4, 5, 6] x) => (float[n, c, h, v] y) {{ [only] y = ConvTranspose {attributes} (x, w, b) }}"
    weight, bias = floats(4, 6 // group, 3, 3), floats(6, seed=1)
    source, x = model(text, w=weight, b=bias), floats(60, 4, 5, 6, seed=2)
    reads = {ref.tensor: [read_of(ref, source.graph)] for ref in find_weights(source)}

    ((_, moments),) = observe(source, check_samples(source, {"x": x}), reads, source)

    (ref,) = find_weights(source)
    np.testing.assert_allclose(moments.goal(np.full((ref.m, ref.k), 1e-9)), ref.to_matrix(weight), atol=0.05)
    np.testing.assert_allclose(moments.bias(ref.to_matrix(weight)), bias, atol=1e-4)


def test_a_bias_that_others_read_stays():
    text = """g (float[n, 8] x) => (float[n, 8] y) {
        [first] a = Gemm (x, w1, b)
        [second] y = Gemm (a, w2, b)
    }"""
    source = model(text, w1=floats(8, 8), w2=floats(8, 8, seed=1), b=floats(8, seed=2))

    pruned = prune(source, {"first": 0.5}, method="admm", calibration={"x": correlated(64, 8)}).model

    np.testing.assert_array_equal(pruned.graph.initializers["b"].const_value.numpy(), floats(8, seed=2))
    assert next(iter(pruned.graph)).inputs[2].name == "w1_bias"


def test_fitting_to_the_dense_network_loses_least():
    source = model(RESIDUAL, w1=floats(12, 12), b1=floats(12), w2=floats(12, 12, seed=1), b2=floats(12, seed=2))
    train, test = correlated(256, 12), correlated(64, 12, seed=4)
    exact = ort_run(source, {"x": test})[0]

    def error(**options):
        pruned = prune(source, 0.3, calibration={"x": train}, **options).model
        return np.linalg.norm(ort_run(pruned, {"x": test})[0] - exact)

    assert error(method="admm") < error(method="admm", match="own")
    assert error(method="sparsegpt") < error(method="sparsegpt", match="own")
    with pytest.raises(PruneError, match="match 'luck' is unknown; expected one of dense, own"):
        error(method="admm", match="luck")


BRANCHES = """g (float[n, 4] x) => (float[n, 4] y) {
    a = Relu (x)
    b = Neg (a)
    c = Mul (a, b)
    d = Exp (c)
    y = Add (d, a)
}"""


def test_values_are_carried_and_nothing_is_computed_twice(monkeypatch):
    source, x = model(BRANCHES), floats(40, 4)
    opened, open_session = [], reference.Session.__init__

    def record(session, network, outputs, *, given, threads):
        opened.append((list(outputs), list(given)))
        open_session(session, network, outputs, given=given, threads=threads)

    monkeypatch.setattr(reference.Session, "__init__", record)

    stops = [Stop((name,)) for name in ("b", "c", "y")]
    arrays = [
        np.concatenate([batch[stop.final[0]] for _, batch in batches])
        for stop, batches in zip(stops, carry(source, check_samples(source, {"x": x}), stops), strict=True)
    ]

    relu = np.maximum(x, 0)
    for found, expected in zip(arrays, (-relu, -relu * relu, np.exp(-relu * relu) + relu), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert carrying.BATCH < 40
    assert [(sorted(outputs), sorted(given)) for outputs, given in opened] == [
        (["a", "b"], ["x"]),
        (["c"], ["a", "b"]),
        (["y"], ["a", "c"]),
    ]


def test_what_will_change_is_looked_at_and_forgotten():
    source = model("g (float[n, 4] x) => (float[n, 4] y) { a = Mul (x, w) y = Add (a, x) }", w=floats(4))
    samples = check_samples(source, {"x": floats(3, 4, seed=1)})

    stops = carry(source, samples, [Stop(("x",), ("a",)), Stop(("y",))])
    ((_, before),) = next(stops)
    source.graph.initializers["w"].const_value = ir.tensor(np.zeros(4, np.float32), name="w")
    ((_, after),) = next(stops)

    np.testing.assert_allclose(before["a"], floats(3, 4, seed=1) * floats(4), rtol=1e-6)
    np.testing.assert_array_equal(after["y"], floats(3, 4, seed=1))
