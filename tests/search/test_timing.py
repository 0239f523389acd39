"""The latency table against plans of models that are really pruned."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse import targets
from edgesparse.calibration import MEASURED
from edgesparse.frontend import load
from edgesparse.prune import prune
from edgesparse.schedule import calibration_of, plan
from edgesparse.search.timing import LatencyTable, Measured, latency_table, owners_of, rest_us
from tests.search.models import LAYERS, network

LEVELS = (1.0, 0.5, 0.1)
TARGET = targets.load("rpi4")


@pytest.mark.parametrize("pattern", ["1x1", "4x1"])
def test_a_level_takes_what_the_schedule_predicts_for_the_pruned_model(pattern):
    table = latency_table(network(), LEVELS, tuple(LAYERS.values()), pattern, load, TARGET, 1)

    for at, level in enumerate(LEVELS):
        pruned = prune(network(), dict.fromkeys(LAYERS, level), pattern=pattern).model
        plans = plan(load(pruned), TARGET)
        assert table.us[:, at] == pytest.approx([plans[node].predicted_us for node in LAYERS], rel=0.05)
    stem_us = plan(load(network()), TARGET)["stem"].predicted_us
    assert table.rest_us == pytest.approx(stem_us + rest_us(load(network()), calibration_of(TARGET), TARGET.lanes))


def test_a_dense_kernel_is_counted_where_it_is_faster():
    table = latency_table(network(), (1.0, 0.97), tuple(LAYERS.values()), "1x1", load, TARGET, 1)

    assert table.us[:, 1] == pytest.approx(table.us[:, 0])


def test_every_layer_finds_its_tensor_in_the_normal_form():
    model = network()

    assert owners_of(model, load(model), tuple(LAYERS.values()), load) == {
        tensor: (node,) for node, tensor in LAYERS.items()
    }


def test_what_is_no_weighted_layer_takes_time_too():
    calibration = calibration_of(TARGET)
    sparse = [(loop, cost.step_ns) for loop, cost in calibration.loops.items() if loop.form == "sparse"]
    vector_ns = min(ns / (loop.vectors * loop.rows * loop.chunk) for loop, ns in sparse if loop.block == (1, 1))

    # 24 channels of 10x10: 600 vectors of 4 lanes, a window of 9 each; then a mean of the 100 for 6 vectors
    depthwise_ns = calibration.costs.call_ns + 600 * 9 * vector_ns
    pool_ns = calibration.costs.call_ns + 6 * 100 * vector_ns

    assert rest_us(load(network()), calibration, 4) == pytest.approx((depthwise_ns + pool_ns) / 1e3)


def test_a_measurement_scales_layers_and_rest_apart():
    us = np.array([[6.0, 3.0], [2.0, 1.0]])
    table = LatencyTable(us, 4.0, "estimated", {"a": ("first",), "b": ("second", "third")})
    steps = {"first": 5.0, "second": 2.0, "third": 1.0, "pool": 12.0}

    matched = table.matched(Measured(40.0, steps))

    assert matched.us == pytest.approx(us * 2.0)
    assert (matched.dense_us, matched.rest_us, matched.least_us) == pytest.approx((40.0, 24.0, 32.0))
    assert matched.total_us(np.array([0, 1])) == pytest.approx(24.0 + 12.0 + 2.0)
    assert matched.origin == MEASURED
