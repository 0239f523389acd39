"""The latency table against plans of models that are really pruned."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.devices import targets
from edgesparse.frontend import load
from edgesparse.graph.ops import graph_of
from edgesparse.prune import prune
from edgesparse.schedule import cost_table, plan
from edgesparse.search.timing import LatencyTable, Measured, Timing, latency_table, owners_of
from tests.search.models import LAYERS, network

LEVELS = (1.0, 0.5, 0.1)
TARGET = targets.load("rpi4")


@pytest.mark.parametrize("pattern", ["1x1", "4x1"])
def test_a_level_takes_what_the_schedule_predicts_for_the_pruned_model(pattern):
    table = latency_table(network(), LEVELS, tuple(LAYERS.values()), pattern, load, TARGET, 1)

    for at, level in enumerate(LEVELS):
        pruned = prune(network(), dict.fromkeys(LAYERS, level), pattern=pattern).model
        plans = plan(graph_of(load(pruned)), TARGET).layers
        assert table.us[:, at] == pytest.approx([plans[node].predicted_us for node in LAYERS], rel=0.05)
    dense = plan(graph_of(load(network())), TARGET)
    assert table.rest_us == pytest.approx(dense.layers["stem"].predicted_us + dense.rest_us)


def test_a_dense_kernel_is_counted_where_sparse_is_within_the_models_error():
    """With hardly a zero the port model itself, given the kernels, finds sparse between 1 % slower and 5 % faster."""
    table = latency_table(network(), (1.0, 0.97), tuple(LAYERS.values()), "1x1", load, TARGET, 1)

    assert table.us[:, 1] == pytest.approx(table.us[:, 0])


def test_every_layer_finds_its_tensor_in_the_normal_form():
    assert owners_of(graph_of(load(network())), tuple(LAYERS.values())) == {
        tensor: (node,) for node, tensor in LAYERS.items()
    }


def test_what_is_no_weighted_layer_takes_time_too():
    costs = cost_table(TARGET)
    sparse = [(loop, cost.step_ns) for loop, cost in costs.loops.items() if loop.form == "sparse"]
    vector_ns = min(ns / (loop.vectors * loop.rows * loop.chunk) for loop, ns in sparse if loop.block == (1, 1))

    # 24 channels of 10x10: 600 vectors of 4 lanes, a window of 9 each; then a mean of the 100 for 6 vectors
    depthwise_ns = costs.costs.call_ns + 600 * 9 * vector_ns
    pool_ns = costs.costs.call_ns + 6 * 100 * vector_ns

    assert plan(graph_of(load(network())), TARGET).rest_us == pytest.approx((depthwise_ns + pool_ns) / 1e3)


TABLE = LatencyTable(np.array([[8.0, 8.0, 4.0, 2.0], [2.0, 1.5, 1.0, 0.5]]), 4.0, {"a": ("x",), "b": ("y", "z")})


def test_a_run_is_shared_among_the_tensors_by_the_time_of_their_kernel_calls():
    steps = {"x": 5.0, "y": 2.0, "z": 1.0, "pool": 12.0}

    run = TABLE.run(np.array([0, 3]), Measured(40.0, 50.0, steps))

    assert run == Timing([0, 3], pytest.approx(40.0), pytest.approx([10.0, 6.0]))


def test_a_run_on_a_slower_moment_is_held_against_the_dense_model_of_that_moment():
    run = TABLE.run(np.array([0, 0]), Measured(60.0, 80.0, {"x": 3.0, "y": 3.0}), dense_us=40.0)

    assert run == Timing([0, 0], pytest.approx(30.0), pytest.approx([15.0, 15.0]))


def test_levels_that_ran_take_what_they_took_and_those_between_are_scaled_alike():
    dense, sparse = Timing((0, 0), 30.0, (16.0, 2.0)), Timing((3, 2), 18.0, (2.0, 2.0))

    table = TABLE.corrected([dense, sparse])

    assert table.us[0] == pytest.approx([16.0, 16.0, 4 * (1 + 2 / 6), 2.0])  # factors 1 at 2, and 2 at 8
    assert table.us[1] == pytest.approx([2.0, 1.5 * 1.5, 2.0, 0.5 * 2])  # 2 at 1, and 1 at 2; outside the nearest
    assert table.rest_us == pytest.approx((12.0 + 14.0) / 2)


def test_runs_at_one_level_are_averaged_and_layers_that_take_no_time_stay_so():
    table = LatencyTable(np.array([[4.0, 2.0], [0.0, 0.0]]), 1.0, {"a": ("x",), "b": ()})

    corrected = table.corrected([Timing((0, 0), 7.0, (6.0, 0.0)), Timing((0, 1), 9.0, (8.0, 0.0))])

    assert corrected.us == pytest.approx(np.array([[7.0, 3.5], [0.0, 0.0]]))
