"""What pruning did to the outputs is judged on samples that it did not see; what it leaves alone is named."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PruneError
from edgesparse.pipeline.sample_files import parted
from edgesparse.prune import compare_outputs, prune
from tests.frontend.graphs import floats, model
from tests.models import ort_run

TEXT = """g (float[n, 6] x) => (float[n, 5] y, int64[n, 1] label, float[n, 2, 3] cube) {
    y = MatMul (x, w)
    label = ArgMax <axis = 1> (y)
    s = Constant <value = int64[3] {-1, 2, 3}> ()
    z = MatMul (x, v)
    cube = Reshape (z, s)
}"""


def test_outputs_are_compared_as_numpy_compares_them():
    x = floats(33, 6, seed=4)
    dense = model(TEXT, w=floats(6, 5), v=floats(6, 6, seed=1))
    pruned = model(TEXT, w=floats(6, 5) + floats(6, 5, seed=2) / 3, v=floats(6, 6, seed=1) * 1.5)

    found = {each.output: each for each in compare_outputs(dense, pruned, {"x": x})}

    (y, label, _), (y2, label2, _) = (ort_run(net, {"x": x}) for net in (dense, pruned))
    cosines = (y * y2).sum(1) / np.linalg.norm(y, axis=1) / np.linalg.norm(y2, axis=1)
    assert 0 < (label != label2).sum() < 33
    assert found["y"].samples == 33
    assert found["y"].top1 == pytest.approx((y.argmax(1) == y2.argmax(1)).mean())
    assert found["y"].cosine == pytest.approx(cosines.mean(), rel=1e-5)
    assert found["y"].relative_error == pytest.approx(np.linalg.norm(y2 - y) / np.linalg.norm(y), rel=1e-5)
    assert found["label"].top1 == pytest.approx((label == label2).mean())
    assert (found["label"].cosine, found["label"].relative_error) == (None, None)
    assert found["cube"].top1 is None
    assert found["cube"].cosine == pytest.approx(1.0) and found["cube"].relative_error == pytest.approx(0.5, rel=1e-5)


def test_an_output_of_zeros_agrees_with_itself_only():
    text = "g (float[1, 4] x) => (float[1, 4] y) { y = Mul (x, w) }"
    zeros, ones = (model(text, w=np.full(4, value, np.float32)) for value in (0.0, 1.0))

    (same,), (other,) = (compare_outputs(zeros, net, {"x": floats(3, 4)}) for net in (zeros, ones))

    assert (same.cosine, same.relative_error) == (1.0, 0.0)
    assert other.relative_error == 1.0


def test_an_output_of_another_shape_is_not_the_same():
    text = "g (float[1, 4] x) => (int64[2, n] y) { z = Mul (x, w) y = NonZero (z) }"
    ones = np.ones(4, np.float32)
    dense, pruned = model(text, w=ones), model(text, w=np.array([1, 1, 0, 1], np.float32))

    (found,) = compare_outputs(dense, pruned, {"x": np.ones((3, 4), np.float32)})

    assert (found.top1, found.cosine, found.relative_error) == (0.0, None, None)


def test_samples_that_do_not_fit_are_refused():
    dense = model(TEXT, w=floats(6, 5), v=floats(6, 6))

    with pytest.raises(PruneError, match="calibration: x: got shape"):
        compare_outputs(dense, dense, {"x": floats(3, 7)})


@pytest.mark.parametrize(("count", "held"), [(2, 1), (9, 4), (63, 31), (64, 32), (159, 32), (512, 102)])
def test_a_fifth_is_held_out_but_32_at_least_and_half_at_most(count, held):
    x = np.arange(count)

    seen, out = parted({"x": x, "z": -x})

    assert len(out["x"]) == held and sorted([*seen["x"], *out["x"]]) == list(x)
    np.testing.assert_array_equal(out["z"], -out["x"])
    assert np.ptp(np.diff(out["x"])) <= 1 if held > 1 else True


@pytest.mark.parametrize("given", [None, {"x": np.ones((1, 3))}, {"x": np.ones(4), "z": np.ones(5)}, {"x": 3.0}])
def test_nothing_is_held_out_of_what_cannot_be_parted(given):
    assert parted(given) == (given, None)


def test_weights_that_no_method_prunes_are_named():
    text = """g (int64[n, 3] ids) => (float[n, 3, 8] y, float[3, 1, n, 16] h) {
        e = Gather (table, ids)
        h = LSTM <hidden_size = 16> (e, wi, wh)
        m = MatMul (e, w)
        y = Mul (m, scale)
    }"""
    weights = {"table": floats(40, 8), "wi": floats(1, 64, 8), "wh": floats(1, 64, 16), "w": floats(8, 8)}

    report = prune(model(text, **weights, scale=floats(3, 8)), 0.5).report

    assert {row.tensor: row.note for row in report.others} == {
        "table": "a table of Gather",
        "wi": "recurrent weights",
        "wh": "recurrent weights",
    }
    assert all(not row.prunable and row.nnz_after == row.size for row in report.others)
    whole = sum(row.size for row in (*report.layers, *report.others))
    assert report.model_density == 1 - sum(row.size - row.nnz_after for row in report.layers) / whole


def test_outputs_that_are_no_numbers_are_not_taken_for_agreement():
    text = "g (float[n, 4] x) => (float[n, 4] y) { a = Mul (x, w) y = Log (a) }"
    ones, negative = (model(text, w=np.full(4, value, np.float32)) for value in (1.0, -1.0))
    x = {"x": np.abs(floats(33, 4)) + 1}

    (same,), (other,) = (compare_outputs(negative, net, x) for net in (negative, ones))

    assert (same.cosine, same.relative_error) == (1.0, 0.0)
    assert (other.cosine, other.relative_error) == (0.0, np.inf)
