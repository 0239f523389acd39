"""After channels, heads or neurons have gone, what is left of a layer is fitted to what the whole network gives."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PruneError
from edgesparse.prune import shrink
from tests.frontend.graphs import floats, model
from tests.models import ort_run
from tests.prune.test_calibrated import correlated
from tests.prune.test_match import least_squares, weights

MLP = """g (float[n, 12] x) => (float[n, 6] y) {
    [one] a = Gemm (x, w1, b1)
    r = Relu (a)
    [two] c = Gemm (r, w2, b2)
    s = Relu (c)
    [three] y = Gemm (s, w3, b3)
}"""
SHAPES = {"w1": (12, 16), "b1": (16,), "w2": (16, 10), "b2": (10,), "w3": (10, 6), "b3": (6,)}


def network(text=MLP, shapes=SHAPES):
    return model(text, **{name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())})


def left_of(whole, smaller):
    """Which columns of `whole` are those of `smaller`, in order."""
    return [next(at for at in range(whole.shape[1]) if np.array_equal(whole[:, at], column)) for column in smaller.T]


def test_each_layer_is_fitted_to_the_dense_outputs_that_are_left():
    source, x = network(MLP.replace("s = Relu", "s = Tanh")), correlated(300, 12)
    whole = weights(source)

    plain = weights(shrink(source, 0.5, multiple=1, calibration={"x": x}).model)
    found = weights(shrink(source, 0.5, multiple=1, calibration={"x": x}, refit=True).model)

    first = left_of(whole["w1"], plain["w1"])
    np.testing.assert_array_equal(found["w1"], plain["w1"])  # it lost no inputs
    second = [at for at in range(10) if whole["b2"][at] in plain["b2"]]
    assert len(first) < 16 and len(second) < 10
    hidden = np.maximum(x @ whole["w1"] + whole["b1"], 0)
    goal = hidden @ whole["w2"] + whole["b2"]
    start = whole["w2"][np.ix_(first, second)].T
    expected, bias = least_squares(hidden[:, first], goal[:, second], np.ones_like(start, bool), start)
    np.testing.assert_allclose(found["w2"].T, expected, atol=1e-3)
    np.testing.assert_allclose(found["b2"], bias, atol=1e-2)


def test_refitting_loses_less_of_a_residual_network():
    text = """g (float[n, 4, 6, 6] x) => (float[n, 5] y) {
        [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        r = Relu (a)
        [in] b = Conv <pads = [1, 1, 1, 1]> (r, w2)
        s = Relu (b)
        [out] c = Conv <pads = [1, 1, 1, 1]> (s, w3)
        t = Add (c, r)
        u = Relu (t)
        [deep] d = Conv <pads = [1, 1, 1, 1], group = 8> (u, w4)
        p = GlobalAveragePool (d)
        f = Flatten (p)
        [head] y = MatMul (f, w5)
    }"""
    shapes = {"w1": (8, 4, 3, 3), "w2": (9, 8, 3, 3), "w3": (8, 9, 3, 3), "w4": (8, 1, 3, 3), "w5": (8, 5)}
    source, (x, test) = network(text, shapes), (floats(60, 4, 6, 6, seed=seed) for seed in (7, 8))
    exact = ort_run(source, {"x": test})[0]

    def error(**options):
        smaller = shrink(source, 0.4, multiple=1, calibration={"x": x}, **options).model
        return np.linalg.norm(ort_run(smaller, {"x": test})[0] - exact)

    assert error(refit=True) < 0.7 * error()
    assert error(importance="output", refit=True) < 0.7 * error(importance="output")


def test_what_outputs_lose_is_variance_times_the_weights_that_read_it():
    source, x = network(), correlated(200, 12)
    whole = weights(source)
    hidden = np.maximum(x @ whole["w1"] + whole["b1"], 0)
    lost = hidden.var(0) * np.square(whole["w2"]).sum(1)

    smaller = shrink(source, 0.2, importance="output", multiple=1, calibration={"x": x}, skip=["three"])

    kept = left_of(whole["w1"], weights(smaller.model)["w1"])
    assert kept == sorted(np.argsort(lost)[16 - len(kept) :].tolist()) and len(kept) < 16


def test_samples_are_asked_for():
    with pytest.raises(PruneError, match="importance output needs calibration samples"):
        shrink(network(), 0.5, importance="output")
