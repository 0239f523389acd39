"""Calibration samples are checked against the inputs of a model, and fed as it takes them."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PruneError
from edgesparse.prune import prune
from edgesparse.prune.samples import check_samples
from tests.frontend.graphs import floats, model

FIXED = "g (float[1, 6] x) => (float[1, 5] y) { y = MatMul (x, w) }"
DYNAMIC = "g (float[n, 6] x) => (float[n, 5] y) { y = MatMul (x, w) }"
TWO = "g (float[n, t, 6] x, int64[t] i) => (float[n, t, 6] y) { z = Cast <to = 1> (i) y = MatMul (x, w) }"


def network(text=FIXED):
    return model(text, w=floats(6, 5))


@pytest.mark.parametrize("text", [FIXED, DYNAMIC])
@pytest.mark.parametrize("shape", [(10, 6), (10, 1, 6)])
def test_feeds_have_the_shape_of_the_input_and_lose_no_sample(text, shape):
    array = floats(*shape)

    feeds = [feed["x"] for feed in check_samples(network(text), {"x": array}).feeds(batch=4)]

    np.testing.assert_array_equal(np.concatenate(feeds), array.reshape(10, 6))
    assert all(feed.ndim == 2 for feed in feeds)
    assert len(feeds) == (3 if text == DYNAMIC and len(shape) == 2 else 10)


def test_an_input_without_a_batch_axis_is_fed_whole():
    samples = check_samples(network(TWO), {"x": floats(4, 3, 6), "i": np.zeros((4, 3), np.int64)})

    assert len(samples) == 4
    assert [feed["i"].shape for feed in samples.feeds(batch=2)] == [(3,)] * 4
    assert [feed["x"].shape for feed in samples.feeds(batch=2)] == [(1, 3, 6)] * 4


def test_narrower_types_are_widened():
    (feed,) = check_samples(network(), {"x": np.ones((1, 6), np.uint8)}).feeds()

    assert feed["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": floats(3, 6)}, "calibration: no samples for x; expected one array of samples for each of x"),
        ({"x": floats(3, 6), "z": floats(3, 6)}, "calibration: no input is called z"),
        ({"x": floats(3, 7)}, r"calibration: x: got shape \[3, 7\], expected \[samples, 6\] or \[samples, 1, 6\]"),
        ({"x": floats(3, 2, 6)}, r"got shape \[3, 2, 6\], expected"),
        ({"x": floats(0, 6)}, "every input needs the same number of samples, 1 or more; x has 0"),
        ({"x": np.ones((3, 6), np.complex64)}, "calibration: x: got complex64 samples, expected float32"),
    ],
)
def test_samples_that_do_not_fit_are_refused(arrays, message):
    with pytest.raises(PruneError, match=message):
        prune(network(), 0.5, calibration=arrays)


def test_inputs_need_equally_many_samples():
    with pytest.raises(PruneError, match="x has 4, i has 5"):
        check_samples(network(TWO), {"x": floats(4, 3, 6), "i": np.zeros((5, 3), np.int64)})


def test_a_fixed_batch_is_part_of_the_sample():
    source = network("g (float[2, 6] x) => (float[2, 5] y) { y = MatMul (x, w) }")

    assert len(check_samples(source, {"x": floats(3, 2, 6)})) == 3
    with pytest.raises(PruneError, match=r"got shape \[4, 6\], expected \[samples, 2, 6\]"):
        check_samples(source, {"x": floats(4, 6)})


def test_a_scalar_is_fed_as_an_array():
    source = model("g (float[2, 3] x, float k) => (float[2, 3] y) { y = Mul (x, k) }")

    feeds = list(check_samples(source, {"x": floats(4, 2, 3), "k": floats(4)}).feeds())

    assert [feed["k"].shape for feed in feeds] == [()] * 4 and all(isinstance(feed["k"], np.ndarray) for feed in feeds)
