"""What outputs are off by as units of one group go, against a network written out in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.prune import shrink
from edgesparse.prune.structured.follow import follow
from edgesparse.prune.structured.groups import KINDS, find_groups
from edgesparse.prune.structured.importance import Evidence
from edgesparse.prune.structured.losses import LEFT, sensitivities
from tests.frontend.graphs import floats, model
from tests.prune.test_match import weights

TWO = """g (float[n, 5] x) => (float[n, 3] y, float[n, 2] z) {
    [one] a = Gemm (x, w1, b1)
    r = Relu (a)
    [two] c = Gemm (r, w2, b2)
    s = Tanh (c)
    [left] y = MatMul (s, w3)
    [right] z = Gemm (s, w4)
}"""
SHAPES = {"w1": (5, 9), "b1": (9,), "w2": (9, 7), "b2": (7,), "w3": (7, 3), "w4": (7, 2)}


def network(text=TWO, shapes=SHAPES):
    return model(text, **{name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())})


def curves(source, x):
    flow = follow(source, {"x": x})
    groups = [group for group in find_groups(flow, KINDS, ()) if group.note is None]
    orders = [np.arange(len(group.units))[::-1] for group in groups]
    found = sensitivities(Evidence(source, flow, {"x": x}), groups, orders)
    return {group.name: curve for group, curve in zip(groups, found, strict=True)}


def outputs(x, dense, hidden, inner):
    """Both outputs, without the last of the units of either layer, whose means stand in for them."""
    r = np.maximum(x @ dense["w1"] + dense["b1"], 0)
    r[:, 9 - hidden :] = np.maximum(x @ dense["w1"] + dense["b1"], 0).mean(0)[9 - hidden :]
    s = np.tanh(r @ dense["w2"] + dense["b2"])
    s[:, 7 - inner :] = s.mean(0)[7 - inner :]
    return s @ dense["w3"], s @ dense["w4"]


def error(exact, found):
    return np.mean([np.square(a - b).sum() / np.square(a).sum() for a, b in zip(exact, found, strict=True)])


def worth(errors):
    """What is lost by errors of more and more units, the last of all of them."""
    rising = np.maximum.accumulate(errors)
    return -rising[-1] * np.log(np.maximum(1 - rising / rising[-1], LEFT))


def test_errors_are_those_of_outputs_with_means_in_place_of_units():
    source, x = network(), floats(24, 5, seed=8)
    dense = weights(source)

    found = curves(source, x)

    exact = outputs(x, dense, 0, 0)
    hidden = [error(exact, outputs(x, dense, gone, 0)) for gone in (0, 2, 4, 7, 9)]
    inner = [error(exact, outputs(x, dense, 0, gone)) for gone in (0, 2, 4, 5, 7)]
    np.testing.assert_allclose(found["one"][[0, 2, 4, 7, 9]], worth(hidden), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found["two"][[0, 2, 4, 5, 7]], worth(inner), rtol=1e-3, atol=1e-6)
    assert all((np.diff(curve) >= 0).all() for curve in found.values())


@pytest.mark.parametrize("count", [1, 40])
def test_a_fixed_batch_and_few_samples_will_do(count):
    text = """g (float[1, 3, 6, 5] x) => (float[1, 2] y) {
        [one] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        [deep] d = Conv <group = 8> (a, w2)
        [two] c = Conv (d, w3)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        [head] y = Gemm (f, w4)
    }"""
    source = network(text, {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (4, 8, 1, 1), "w4": (4, 2)})

    found = curves(source, floats(count, 3, 6, 5))

    assert set(found) == {"one", "two"}
    assert all(curve[0] == 0 and curve[-1] > 0 for curve in found.values()) == (count > 1)


def test_units_go_where_the_outputs_move_least():
    text = """g (float[n, 6] x) => (float[n, 4] y) {
        [quiet] a = Gemm (x, w1)
        r = Relu (a)
        [low] b = Gemm (r, w2)
        m = Mul (b, small)
        [loud] c = Gemm (x, w3)
        s = Relu (c)
        [high] d = Gemm (s, w4)
        y = Add (m, d)
    }"""
    arrays = {"w1": floats(6, 8), "w2": floats(8, 4, seed=1), "w3": floats(6, 8), "w4": floats(8, 4, seed=1)}
    source, x = model(text, **arrays, small=np.float32(0.01)), floats(50, 6, seed=2)

    sizes = {
        row.name: row.size_after
        for row in shrink(source, 0.4, importance="output", multiple=1, calibration={"x": x}).report.groups
    }

    assert sizes["quiet"] == 2 and sizes["loud"] == 8  # 0.375 of the work


def test_where_no_output_is_a_number_it_is_all_wrong():
    text = """g (float[n, 1] x) => (float[n, 2] y) {
        [one] a = Gemm (x, w1)
        r = Relu (a)
        [two] c = Gemm (r, w2)
        y = Log (c)
    }"""
    one, two = np.ones((1, 2), np.float32), np.array([[1.0, 1.0], [-0.9, -0.5]], np.float32)
    x = np.arange(1, 31, dtype=np.float32).reshape(30, 1)

    found = curves(model(text, w1=one, w2=two), x)["one"]

    np.testing.assert_allclose(found, worth([0.0, 1.0, 1.0]))  # x - 0.9 * 15.5 is below zero at times


def test_of_integers_those_count_that_are_others():
    text = """g (float[n, 2] x) => (int64[n, one] label) {
        [one] r = Gemm (x, w)
        [two] c = Gemm (r, w)
        label = ArgMax <axis = 1> (c)
    }"""
    x = floats(30, 2)
    x[:, 0] *= 2

    found = curves(model(text, w=np.eye(2, dtype=np.float32)), x)["one"]

    changed = (x[:, 1] > x[:, 0]) != (x[:, 1].mean() > x[:, 0])
    both = (x[:, 1] > x[:, 0]) != (x[:, 1].mean() > x[:, 0].mean())
    assert 0 < changed.mean() < both.mean()
    np.testing.assert_allclose(found, worth([0.0, changed.mean(), both.mean()]), rtol=1e-5)


def test_units_that_no_layer_reads_count_too():
    text = """g (float[n, 5, 8] x) => (float[n, 5, 8] y) {
        [q] q = MatMul (x, wq)
        [k] k = MatMul (x, wk)
        [v] v = MatMul (x, wv)
        kt = Transpose <perm = [0, 2, 1]> (k)
        s = MatMul (q, kt)
        p = Softmax <axis = -1> (s)
        o = MatMul (p, v)
        [out] y = MatMul (o, wo)
    }"""
    arrays = {"wq": floats(8, 6), "wk": floats(8, 6, seed=1), "wv": floats(8, 6, seed=2), "wo": floats(6, 8, seed=3)}
    source, x = model(text, **arrays), floats(30, 5, 8, seed=4)

    found = curves(source, x)

    def attention(gone):
        q, k, v = (x @ arrays[name] for name in ("wq", "wk", "wv"))
        for each in (q, k):
            each[..., 6 - gone :] = each.mean((0, 1))[6 - gone :]
        scores = np.exp(q @ k.swapaxes(1, 2))
        return (scores / scores.sum(-1, keepdims=True) @ v @ arrays["wo"],)

    errors = [error(attention(0), attention(gone)) for gone in (0, 2, 3, 4, 6)]
    np.testing.assert_allclose(found["q"][[0, 2, 3, 4, 6]], worth(errors), rtol=1e-3, atol=1e-6)
    groups = shrink(source, 0.2, importance="output", multiple=1, calibration={"x": x}).report.groups
    assert all(row.size_after < 6 for row in groups if row.name == "v")  # queries and keys are not worth nothing


def test_an_output_that_is_no_number_or_has_no_elements_hides_no_other():
    text = TWO.replace("float[n, 2] z)", "float[n, 2] z, float[n, 3] bad, int64[2, k] none)")
    text = text.replace("[right]", "bad = Log (y) big = Greater (y, limit) none = NonZero (big) [right]")
    arrays = {name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())}
    x = floats(24, 5, seed=8)

    found = curves(model(text, **arrays, limit=np.float32(1e9)), x)

    for name, curve in curves(network(), x).items():
        np.testing.assert_allclose(found[name], curve, rtol=1e-6)


@pytest.mark.parametrize("name", ["c.kept", "c.instead", "y.kept"])
def test_values_may_be_called_like_switches(name):
    x, shapes = floats(24, 5, seed=8), SHAPES | {"extra": (1, 7)}
    arrays = {key: floats(*shape, seed=seed) for seed, (key, shape) in enumerate(shapes.items())}
    plain = TWO.replace("s = Tanh (c)", "t = Add (c, extra) s = Tanh (t)")

    renamed = {"other" if key == "extra" else key: array for key, array in arrays.items()}
    one, other = model(plain, **arrays), model(plain.replace("extra", "other"), **renamed)
    value = other.graph.initializers["other"]
    value.name = name

    found, expected = curves(other, x), curves(one, x)
    assert all((found[key] == expected[key]).all() for key in expected)


def test_a_batch_that_is_fixed_inside_is_run_sample_by_sample():
    text = TWO.replace("[one] a = Gemm (x, w1, b1)", "k = Reshape (x, one_row) [one] a = Gemm (k, w1, b1)")
    arrays = {name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())}
    x = floats(24, 5, seed=8)

    found = curves(model(text, **arrays, one_row=np.array([1, 5])), x)

    for name, curve in curves(network(), x).items():
        np.testing.assert_allclose(found[name], curve, rtol=1e-3, atol=1e-6)


def test_nothing_is_measured_where_nothing_can_go():
    source = model("g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }")

    for importance in ("l2", "output", "activation"):
        shrunk = shrink(source, 0.0, importance=importance, calibration={"x": floats(3, 4)}, refit=True)
        assert [node.op_type for node in shrunk.model.graph] == ["Relu"]


def test_where_the_outputs_do_not_move_shares_decide():
    text = """g (float[n, 6] x) => (int64[n, one] label) {
        [one] a = Gemm (x, w1)
        [two] b = Gemm (a, w2)
        [three] c = Gemm (b, w3)
        d = Mul (c, none)
        label = ArgMax <axis = 1> (d)
    }"""
    arrays = {"w1": floats(6, 8), "w2": floats(8, 8, seed=1), "w3": floats(8, 3, seed=2)}
    source, x = model(text, **arrays, none=np.float32(0)), floats(20, 6, seed=3)

    seen = shrink(source, 0.5, importance="l2", multiple=1, calibration={"x": x}).report.groups
    plain = shrink(source, 0.5, importance="l2", multiple=1).report.groups

    assert [row.size_after for row in seen] == [row.size_after for row in plain]
