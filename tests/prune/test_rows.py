"""Fitting to what is seen behind an activation, against alternation written out in float64."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.errors import PruneError
from edgesparse.prune import prune, shrink
from edgesparse.prune import rows as keeping
from edgesparse.prune.moments import ROUNDS
from edgesparse.prune.observe import observe, read_of
from edgesparse.prune.rows import Rows
from edgesparse.prune.samples import check_samples
from edgesparse.prune.site import site_of
from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model
from tests.models import ort_run
from tests.prune.test_calibrated import correlated
from tests.prune.test_match import least_squares, weights

BEHIND = {
    "relu": ("s = Relu (c)", 0.0, np.inf),
    "clip": ("s = Clip (c, low, high)", -1.0, 6.0),
    "clip below": ("s = Clip (c, , high)", -np.inf, 2.0),
    "several": ("s0 = Relu (c) s1 = Relu (c) s = Add (s0, s1)", 0.0, np.inf),
}
TEXT = ir.StringTensor([b"low"], shape=ir.Shape([1]))
SEEN_WHOLE = {
    "another": "s = LeakyRelu (c)",
    "nothing": "s = Identity (c)",
    "two that differ": "s0 = Relu (c) s1 = Clip (c, low, high) s = Add (s0, s1)",
    "ends that are computed": "top = Exp (high) s = Clip (c, low, top)",
}
SHAPES = {"w1": (12, 16), "b1": (16,), "w2": (16, 10), "b2": (10,), "w3": (10, 6), "b3": (6,)}


def network(behind, middle="[two] c = Gemm (r, w2, b2)"):
    text = f"""g (float[n, 12] x) => (float[n, 6] y) {{
        [one] a = Gemm (x, w1, b1)
        r = Relu (a)
        {middle}
        {behind}
        [three] y = Gemm (s, w3, b3)
    }}"""
    arrays = {name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())}
    ends = {"low": np.float32(-1), "high": np.float32(6 if "low" in behind else 2)}
    return model(text, **arrays, **ends, first=np.array([0]), last=np.array([10]), axis=np.array([1]))


def alternated(x, t, start, low, high):
    """The weight and bias that least squares and unseen outputs reach in turns, the best of them."""
    every, goal = [], t
    for _ in range(1 + ROUNDS):
        weight, bias = least_squares(x, goal, np.ones_like(start, bool), start)
        given = x @ weight.T + bias
        every.append((np.square(np.clip(given, low, high) - np.clip(t, low, high)).sum(), weight, bias))
        goal = np.where(t <= low, np.minimum(given, low), np.where(t >= high, np.maximum(given, high), t))
    return every[0], min(every, key=lambda each: each[0])


def fitted(source, x):
    """The dense constants, those of a network that is smaller by units of the first layer, and which are left."""
    smaller = weights(shrink(source, 0.3, multiple=1, calibration={"x": x}, refit=True, skip=["three"]).model)
    dense = weights(source)
    left = [next(at for at in range(16) if np.array_equal(dense["w1"][:, at], row)) for row in smaller["w1"].T]
    assert len(left) < 16
    return dense, smaller, left


def read(x, dense):
    return np.maximum(x @ dense["w1"] + dense["b1"], 0)


@pytest.mark.parametrize("name", BEHIND)
def test_outputs_are_fitted_as_they_are_seen(name):
    behind, low, high = BEHIND[name]
    x = correlated(300, 12) / 4

    dense, found, left = fitted(network(behind), x)

    r = read(x, dense)
    start = dense["w2"][left].T
    linear, (_, weight, bias) = alternated(r[:, left], r @ dense["w2"] + dense["b2"], start, low, high)
    np.testing.assert_allclose(found["w2"].T, weight, atol=2e-3)
    np.testing.assert_allclose(found["b2"], bias, atol=5e-3)
    assert not np.allclose(found["w2"].T, linear[1], atol=1e-2)


@pytest.mark.parametrize("name", SEEN_WHOLE)
def test_outputs_that_are_seen_whole_are_fitted_whole(name):
    x = correlated(300, 12) / 4

    dense, found, left = fitted(network(SEEN_WHOLE[name]), x)

    r = read(x, dense)
    start = dense["w2"][left].T
    (_, weight, bias), _ = alternated(r[:, left], r @ dense["w2"] + dense["b2"], start, -np.inf, np.inf)
    np.testing.assert_allclose(found["w2"].T, weight, atol=2e-3)
    np.testing.assert_allclose(found["b2"], bias, atol=5e-3)


@pytest.mark.parametrize("middle", ["[two] c0 = Gemm (r, w2, b2)", "[two] m = MatMul (r, w2) c0 = Add (m, b2)"])
def test_a_residual_counts_for_what_is_seen(middle):
    x = correlated(300, 12) / 4
    source = network("s = Relu (c)", f"{middle} d = Slice (x, first, last, axis) e = Mul (d, d) c = Add (c0, e)")

    dense, found, left = fitted(source, x)

    r, residual = read(x, dense), np.square(x[:, :10])
    start = dense["w2"][left].T
    goal = r @ dense["w2"] + dense["b2"]
    _, (_, weight, bias) = alternated(r[:, left], goal, start, -residual, np.inf)
    np.testing.assert_allclose(found["w2"].T, weight, atol=2e-3)
    np.testing.assert_allclose(found["b2"], bias, atol=5e-3)


def test_positions_are_kept_evenly_where_room_is_short(monkeypatch):
    monkeypatch.setattr(keeping, "ROOM", 40)
    inputs = np.arange(60, dtype=np.float32).reshape(1, 20, 3)
    ones = np.ones((1, 20, 2), np.float32)

    kept = Rows.of(inputs, ones, np.zeros((1, 1, 1)), np.full((1, 1, 2), np.inf)).thinned(0.5)

    np.testing.assert_array_equal(kept.inputs, inputs[:, ::3])  # 120 elements in all samples
    assert kept.low.shape == kept.high.shape == kept.outputs.shape == (1, 7, 2)
    assert Rows.joined([kept, kept]).inputs.shape == (1, 14, 3)


def test_grouped_convolutions_are_fitted_as_they_are_seen():
    text = """g (float[n, 4, 7, 9] x) => (float[n, c, h, v] y) {
        [one] a = Conv <pads = [1, 1, 1, 1], group = 2> (x, w)
        y = Relu (a)
    }"""
    source, x = model(text, w=floats(6, 2, 3, 3)), floats(20, 4, 7, 9, seed=1)
    reads = {ref.tensor: [read_of(ref, source.graph)] for ref in find_weights(source)}

    ((_, moments),) = observe(source, check_samples(source, {"x": x}), reads, source)

    (made,) = ort_run(source, {"x": x})
    (ref,) = find_weights(source)
    rows = moments.rows
    given = rows.given(ref.to_matrix(ref.array()).reshape(2, 3, -1), moments.bias(ref.to_matrix(ref.array())))
    assert rows.error(given) == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(
        np.maximum(rows.outputs, 0).swapaxes(1, 2).reshape(6, 20, 63)[:, 3], made[3].reshape(6, 63), atol=1e-5
    )


@pytest.mark.parametrize("bound", [ir.tensor([0.0, 1.0]), ir.tensor(np.zeros(0, np.float32)), TEXT])
def test_a_bound_that_is_no_number_is_left_to_onnx_runtime(bound):
    source = network("s = Clip (c, low, high)")
    source.graph.initializers["low"].const_value = (
        ir.tensor(bound) if bound.dtype != object else ir.StringTensor([b"low"])
    )
    named = {ref.tensor: ref for ref in find_weights(source)}

    found = site_of(named["w2"])

    assert found is not None and found.slope is None
    with pytest.raises(PruneError, match="^calibration: "):
        prune(source, 0.5, method="admm", calibration={"x": floats(4, 12)})


def test_float64_beyond_float32_is_fitted_whole_without_a_word():
    text = """g (double[n, 6] x) => (double[n, 4] y) {
        [one] a = Gemm (x, w1)
        y = Relu (a)
    }"""
    source, x = model(text, w1=floats(6, 4).astype(np.float64)), floats(40, 6, seed=1).astype(np.float64) * 1e60

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = weights(prune(source, {"one": 0.5}, method="admm", calibration={"x": x}).model)

    assert np.isfinite(found["w1"]).all() and np.count_nonzero(found["w1"]) == 12


def test_samples_without_a_position_say_nothing():
    source = model(
        "g (float[n, t, 6] x) => (float[n, t, 4] y) { [one] a = MatMul (x, w1) y = Relu (a) }", w1=floats(6, 4)
    )

    found = weights(
        prune(source, {"one": 0.5}, method="admm", calibration={"x": np.zeros((4, 0, 6), np.float32)}).model
    )

    assert np.count_nonzero(found["w1"]) == 12
