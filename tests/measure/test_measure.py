"""Measuring: programs take turns, figures say where they come from, and comparison is strict where it must be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgesparse.errors import MeasureError
from edgesparse.measure import Origin, Schedule, compare, compare_all, feeds_for, interleave, open_rival, random_feeds

QUICK = Schedule(seconds=0.0, warmup_seconds=0.0)


def test_programs_take_turns():
    order: list[str] = []

    interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, QUICK)

    assert order == ["a", "b"] * (len(order) // 2)


def test_the_first_of_several_runs_in_a_row_is_not_counted():
    order: list[str] = []
    schedule = Schedule(seconds=0.0, warmup_seconds=0.0, turn=3)

    times = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, schedule)

    assert order == ["a", "a", "a", "b", "b", "b"] * (len(order) // 6)
    warmup = 3
    assert times["a"].runs == (order.count("a") - warmup) * 2 // 3


def test_latency_says_how_many_runs_and_where_it_comes_from():
    latency = interleave({"a": lambda: None}, QUICK)["a"]

    assert latency.runs >= 10
    assert latency.origin is Origin.MEASURED
    assert latency.p10_us <= latency.median_us <= latency.p90_us


@pytest.mark.parametrize("schedule", [Schedule(seconds=-1.0), Schedule(max_runs=3), Schedule(turn=0)])
def test_impossible_schedule_is_refused(schedule):
    with pytest.raises(MeasureError, match="expected seconds >= 0, max_runs >= 10 and turn >= 1"):
        interleave({"a": lambda: None}, schedule)


def test_collector_of_garbage_is_back_after_a_measurement_that_fails():
    import gc

    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0}, QUICK)

    assert gc.isenabled()


@pytest.mark.parametrize(
    ("actual", "expected", "agrees"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, 1000.05], [1.0, 1000.0], True),  # within 1e-3 of the element
        ([0.05, 1000.0], [0.0, 1000.0], True),  # within 1e-4 of the largest
        ([0.2, 1000.0], [0.0, 1000.0], False),
        ([float("nan")], [1.0], False),
        ([float("nan")], [float("nan")], True),
        ([float("inf"), 1.0], [float("inf"), 1.0], True),
        ([float("inf"), 1.0], [2.0, 1.0], False),
        ([0.0], [0.0], True),
        ([], [], True),
    ],
)
def test_floats_agree_within_tolerance_on_unit_scale(actual, expected, agrees):
    difference = compare(np.array(actual, np.float32), np.array(expected, np.float32), "y")

    assert difference.agrees is agrees
    assert bool(difference.note) is not agrees


def test_doubles_agree_within_a_hundredth_of_that():
    expected = np.array([1.0, 1000.0])

    assert compare(expected * (1 + 1e-6), expected, "y").agrees
    assert not compare(expected * (1 + 1e-4), expected, "y").agrees
    assert compare((expected * (1 + 1e-4)).astype(np.float32), expected.astype(np.float32), "y").agrees


def test_integers_agree_only_if_equal():
    assert compare(np.array([1, 2]), np.array([1, 2]), "y").agrees
    assert compare(np.array([1, 2]), np.array([1, 3]), "y").note == "1 of 2 elements differ"


def test_other_shape_dtype_or_a_missing_output_does_not_agree():
    ones = np.ones(3, np.float32)

    assert "got float32[3, 1], expected float32[3]" in compare(ones[:, None], ones, "y").note
    assert "got float64[3]" in compare(ones.astype(np.float64), ones, "y").note
    assert not compare_all({}, {"y": ones})[0].agrees


def specs() -> list[SimpleNamespace]:
    return [
        SimpleNamespace(name="x", dtype="float32", shape=(2, 3)),
        SimpleNamespace(name="n", dtype="int64", shape=(4,)),
    ]


def test_random_feeds_are_seeded_and_fit():
    first, second = random_feeds(specs()), random_feeds(specs())

    assert first["x"].shape == (2, 3) and first["x"].dtype == np.float32
    assert set(np.unique(first["n"])) <= {0, 1}
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_feeds_in_order_get_names_and_must_be_complete():
    a, b = np.zeros((2, 3), np.float32), np.zeros(4, np.int64)

    assert feeds_for(specs(), [a, b])["n"] is b
    with pytest.raises(MeasureError, match="got 1 arrays, expected 2: x, n"):
        feeds_for(specs(), [a])


def test_unknown_rival_lists_the_known_ones(tmp_path):
    with pytest.raises(MeasureError, match="unknown runtime 'tflite' to measure against; known: onnxruntime"):
        open_rival("tflite", tmp_path / "model.onnx", 1)


def test_rival_that_cannot_open_the_model_says_so_in_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")

    with pytest.raises(MeasureError, match=r"ONNX Runtime cannot open .*model.onnx: ") as caught:
        open_rival("onnxruntime", tmp_path / "model.onnx", 1)

    assert "\n" not in str(caught.value)
