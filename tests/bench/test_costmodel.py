"""The check of the cost model judges shares and distances as it says."""

from __future__ import annotations

import numpy as np
import pytest

from bench import costmodel
from edgesparse import targets
from edgesparse.layers import layers
from edgesparse.measure import OnnxRuntime
from edgesparse.pipeline.compiling import serialized
from tests.schedule.test_choose import convolution


def predicted(us: float) -> costmodel.Predicted:
    return costmodel.Predicted("m", 0.1, "l", "c", us, 100.0)


def chosen(us: float) -> costmodel.Chosen:
    return costmodel.Chosen("m", 0.1, "l", "c", us, "b", 100.0, 5)


def test_shares_and_distances():
    text = costmodel.summary(
        [predicted(us) for us in (79.0, 81.0, 119.0, 121.0)], [chosen(us) for us in (100, 104, 110)]
    )

    assert "2 of 4 layers (50%) are predicted within 20%" in text
    assert "within 5% of the best measured candidate in 2 of 3 layers; median 4.0%, worst 10.0%" in text


def test_candidates_compute_the_layer_again_and_again():
    (layer,) = layers(convolution(6, 4, 5, 0.5, window=3))

    model = costmodel._repeated(layer, ["a", "b", "c"])

    x = np.random.default_rng(0).standard_normal((1, 4, 5, 5)).astype(np.float32)
    single = OnnxRuntime(serialized(convolution(6, 4, 5, 0.5, window=3)), threads=1).run({"x": x})["y"]
    (last,) = OnnxRuntime(serialized(model), threads=1).run({"x": x}).values()
    np.testing.assert_allclose(last, 3 * single, rtol=1e-4, atol=1e-4)
    assert [node.name for node in model.graph if node.op_type == "Conv"] == ["a", "b", "c"]


def test_a_choice_is_measured_among_candidates():
    (layer,) = layers(convolution(8, 8, 4, 0.5))

    one = costmodel.check_choice("m", 0.5, layer, targets.load("host"), seconds=0.0)

    assert one.candidates >= 2
    assert one.loss == pytest.approx(one.measured_us / one.best_us - 1) and one.loss >= 0
