"""The check of the cost model judges shares and distances as it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import costmodel
from edgesparse import schedule
from edgesparse.devices import targets
from edgesparse.graph.ops import graph_of
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


def test_choices_are_measured_among_candidates_with_other_inner_loops():
    model, target = convolution(8, 8, 4, 0.5), targets.load("host")
    (op,) = graph_of(model).weighted

    (one,) = costmodel.check_choices("m", 0.5, model, target, count=3, seconds=0.0)

    plans = costmodel._candidates(op, target, 3)
    assert one.choice == plans[0].choice == schedule.plan(graph_of(model), target).layers[op.layer.name].choice
    assert len({replace(plan.tile, k_block=0) for plan in plans}) == one.candidates == 3
    assert one.best in [plan.choice for plan in plans]
    assert one.loss == pytest.approx(one.measured_us / one.best_us - 1) and one.loss >= 0
