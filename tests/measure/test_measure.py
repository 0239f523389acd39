"""Measuring: sessions take turns, figures say where they come from, and comparison is strict where it must be."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from edgesparse.errors import MeasureError
from edgesparse.measure import (
    Latency,
    Memory,
    Origin,
    compare,
    compare_all,
    feeds_for,
    open_rival,
    random_feeds,
    take_turns,
)
from edgesparse.measure.latency import MIN_ROUNDS

X = {"x": np.zeros(3, np.float32)}


class Clock:
    """A session whose runs take as long as is given; it notes the turns."""

    def __init__(self, name: str, turns: list[tuple[str, int]], ns: int = 10_000_000, left: int = 10**9) -> None:
        self.name, self.turns, self.ns, self.left = name, turns, ns, left

    def time(self, inputs, repeat=10):
        self.turns.append((self.name, repeat))
        self.left -= 1
        if self.left < 0:
            raise MeasureError("out of turns")
        return [self.ns] * repeat

    def meters(self, inputs):
        return {}


def test_sessions_take_turns_that_fill_the_same_time():
    turns: list[tuple[str, int]] = []
    sessions = {"a": Clock("a", turns), "b": Clock("b", turns, 20_000_000), "c": Clock("c", turns, 10**9)}

    latencies = take_turns(sessions, X, 0.0)

    warmup = [("a", 3), ("b", 3), ("c", 3)]
    assert turns == [*warmup, *[("a", 6), ("b", 3), ("c", 2)] * MIN_ROUNDS]
    assert {name: latency.runs for name, latency in latencies.items()} == {"a": 30, "b": 15, "c": 10}
    assert latencies["b"] == Latency(15, 20_000.0, 20_000.0, 20_000.0, Origin.MEASURED)


def test_a_turn_is_as_long_as_the_one_before_says():
    turns: list[tuple[str, int]] = []
    slow_at_first = Clock("a", turns, 10**9)
    quick = slow_at_first.time

    def time(inputs, repeat=10):
        taken = quick(inputs, repeat)
        slow_at_first.ns = 10_000_000
        return taken

    slow_at_first.time = time

    take_turns({"a": slow_at_first}, X, 0.0)

    assert [repeat for _, repeat in turns] == [3, 2, 6, 6, 6, 6]


def test_rounds_go_on_as_long_as_asked_for():
    turns: list[tuple[str, int]] = []
    start = time.monotonic()

    take_turns({"a": Clock("a", turns)}, X, 0.05)

    assert time.monotonic() - start >= 0.05 and len(turns) > MIN_ROUNDS + 1


def test_a_session_that_fails_is_left_out_or_ends_all_by_its_name():
    turns: list[tuple[str, int]] = []
    failures: dict[str, str] = {}

    latencies = take_turns({"a": Clock("a", turns, left=2), "b": Clock("b", turns)}, X, 0.0, failures)

    assert list(latencies) == ["b"] and failures == {"a": "out of turns"}
    with pytest.raises(MeasureError, match=r"^a cannot be timed: out of turns$"):
        take_turns({"b": Clock("b", turns), "a": Clock("a", turns, left=2)}, X, 0.0)
    assert take_turns({"a": Clock("a", turns, left=0)}, X, 0.0, failures) == {}


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "1"])
def test_impossible_length_is_refused(seconds):
    with pytest.raises(MeasureError, match="expected 0 or more"):
        take_turns({}, X, seconds)


def test_memory_that_the_system_does_not_tell_is_unavailable():
    memory = Memory.of({"peak_bytes": 7})

    assert memory.peak.value == 7 and memory.peak.origin is Origin.MEASURED and "VmHWM" in memory.peak.how
    assert memory.mapped.value is None and memory.mapped.origin is Origin.UNAVAILABLE


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
    assert compare(np.array([1, 2]), np.array([1, 3]), "y").note == "1 of 2 elements differ, by 1 step at most"


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
