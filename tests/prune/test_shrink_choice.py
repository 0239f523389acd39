"""How many units go: rounding, how close the share comes, and which may go at all."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PruneError
from edgesparse.prune import shrink
from tests.frontend.graphs import floats
from tests.prune.judge import constants, network

TWO = "[one] a = Conv (x, w1, b1) r = Relu (a) [two] c = Conv (r, w2) p = GlobalAveragePool (c) y = Flatten (p)"


def two(channels=12, **changes):
    shapes = {"w1": (channels, 3, 1, 1), "b1": (channels,), "w2": (5, channels, 3, 3)}
    return network(TWO, **(shapes | changes))


@pytest.mark.parametrize("removed, left", [(0.0, 12), (0.1, 11), (0.25, 9), (0.5, 6), (0.99, 1)])
def test_the_share_is_met_where_the_multiple_permits_it(removed, left):
    shrunk = shrink(two(), removed, multiple=1)

    assert shrunk.report.groups[0].size_after == left
    assert shrunk.report.macs_after * 12 == shrunk.report.macs_before * left


@pytest.mark.parametrize(
    "channels, removed, multiple, left",
    [(13, 0.1, 4, 12), (13, 0.5, 4, 8), (13, 0.6, 4, 4), (16, 0.99, 8, 8), (17, 0.02, 8, 17), (17, 0.05, 8, 16)],
)
def test_what_is_left_is_a_multiple_and_never_nothing(channels, removed, multiple, left):
    shrunk = shrink(two(channels), removed, multiple=multiple)

    assert shrunk.report.groups[0].size_after == left == len(constants(shrunk.model)["b1"])


def test_the_report_counts_parameters_and_macs():
    report = shrink(two(), 0.5, multiple=1).report

    group = report.groups[0]
    assert (group.name, group.kind, group.layers) == ("one", "channels", ("one", "two"))
    assert (group.parameters_before, group.parameters_after) == (12 * 3 + 5 * 12 * 9, 6 * 3 + 5 * 6 * 9)
    assert (group.macs_before, group.macs_after) == (36 * 36 + 540 * 16, 18 * 36 + 270 * 16)
    assert (report.macs_before, report.removed) == (group.macs_before, 0.5)


def test_groups_give_by_importance_however_large_their_weights_are():
    text = (
        "[a1] a = Conv (x, w1) [a2] b = Conv (a, w2) [b1] c = Conv (x, v1) [b2] d = Conv (c, v2) e = Add (b, d)"
        " p = GlobalAveragePool (e) y = Flatten (p)"
    )
    large, small = floats(8, 3, 1, 1), floats(5, 8, 1, 1, seed=1)
    decayed = np.logspace(0, -4, 8, dtype=np.float32)
    source = network(
        text,
        w1=large / 1000,
        w2=small / 1000,
        v1=large * decayed[:, None, None, None],
        v2=small * decayed[None, :, None, None],
    )

    report = shrink(source, 0.25, multiple=1).report

    assert [row.size_after for row in report.groups if row.note is None] == [8, 4]


def test_kinds_that_are_not_asked_for_stay():
    text = (
        "[one] a = Conv (x, w1) p = GlobalAveragePool (a) f = Flatten (p) [two] h = Gemm (f, w2)"
        " [three] y = Gemm (h, w3)"
    )
    source = network(text, w1=(8, 3, 1, 1), w2=(8, 6), w3=(6, 5))

    channels, neurons = (shrink(source, 0.9, kinds=[kind], multiple=1).report for kind in ("channels", "neurons"))

    assert [(row.size_after, row.note) for row in channels.groups[:2]] == [(1, None), (6, "neurons are not asked for")]
    assert [(row.size_after, row.note) for row in neurons.groups[:2]] == [(8, "channels are not asked for"), (1, None)]


def test_layers_that_are_skipped_stay_whole():
    text = (
        "[one] a = Conv (x, w1) [two] b = Conv (a, w2)"
        " [three] c = Conv (b, w3) p = GlobalAveragePool (c) y = Flatten (p)"
    )
    source = network(text, w1=(8, 3, 1, 1), w2=(8, 8, 1, 1), w3=(5, 8, 1, 1))

    after = constants(shrink(source, 0.9, multiple=1, skip=["thr*"]).model)

    assert [after[name].shape[:2] for name in ("w1", "w2", "w3")] == [(1, 3), (8, 1), (5, 8)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"removed": 1.0}, "removed must be at least 0 and below 1, got 1.0"),
        ({"removed": -0.1}, "removed must be at least 0 and below 1, got -0.1"),
        (
            {"importance": "luck"},
            "importance 'luck' is unknown; expected one of activation, bn, l1, l2, output, taylor",
        ),
        ({"kinds": ["tails"]}, "kinds tails; expected some of channels, heads, neurons"),
        ({"kinds": []}, "kinds are empty; expected some of channels, heads, neurons"),
        ({"multiple": 0}, "multiple must be at least 1, got 0"),
        ({"skip": ["nobody"]}, "skip 'nobody' matches no layer; `edgesparse inspect` lists their names"),
        ({"multiple": 12}, "nothing can be taken out of the model: one: too few for a multiple of 12; two: it is an"),
        ({"kinds": ["heads"]}, "nothing can be taken out of the model: one: channels are not asked for"),
    ],
)
def test_requests_that_do_not_fit_are_refused(options, message):
    with pytest.raises(PruneError) as caught:
        shrink(two(), **({"removed": 0.5} | options))

    assert str(caught.value).startswith(message)


def test_inputs_without_a_shape_need_samples():
    source = network("y = Relu (x)")
    source.graph.inputs[0].shape = None

    with pytest.raises(PruneError, match="input 'x' has no shape in the file; give calibration samples"):
        shrink(source, 0.5)


def test_a_model_that_cannot_run_on_made_up_inputs_needs_samples():
    source = network("s = Shape (x) c = Concat <axis = 0> (s, s) y = Reshape (x, c)", inputs="float[n, 3] x")

    with pytest.raises(
        PruneError, match="on made-up inputs, ONNX Runtime cannot run the model: .*; give calibration samples"
    ):
        shrink(source, 0.5)


def test_samples_that_the_model_cannot_run_on_are_named():
    source = network("s = Shape (x) c = Concat <axis = 0> (s, s) y = Reshape (x, c)", inputs="float[n, 3] x")

    with pytest.raises(PruneError, match="on the calibration data, ONNX Runtime cannot run the model"):
        shrink(source, 0.5, calibration={"x": floats(4, 3)})
