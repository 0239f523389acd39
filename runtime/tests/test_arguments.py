"""Whatever stands in an argument's place, it works, or one line names the argument and what was expected."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model, Pool


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


ANYTHING = [
    *("", "x", "1", "\n", "a\0b", "\ud800", b"", b"1", None, True, False, math.nan, math.inf, -math.inf, -1, 0, 1, 2),
    *(0.5, 1e-300, 1e300, 10**400, [], ["x"], [1], [[1]], (), {}, {1: 2}, object(), Odd(), np.float32(2), np.int64(2)),
    *(np.zeros(2), np.zeros(()), np.array(["x"]), len, int, range(3), iter([])),
]


@pytest.fixture(scope="module")
def model(saved):
    with Model(saved[0]) as opened:
        yield opened


def takes(argument: str, call) -> int:
    """How many of them are taken; every other one is refused in a line that names the argument."""
    taken = 0
    for value in ANYTHING:
        try:
            call(value)
            taken += 1
        except EdgesparseRuntimeError as err:
            words = str(err)
            assert argument.removesuffix("s") in words and "\n" not in words and len(words) < 250, words
            assert "expected" in words or "core" in words, words
    return taken


@pytest.mark.parametrize(("argument", "taken"), [("threads", 3), ("spin_us", 4), ("priority", 4)])
def test_numbers_of_a_pool(argument, taken):
    assert takes(argument, lambda value: Pool(**{"threads": 2, argument: value}).close()) == taken  # 0, 1, 2, numpy's


def test_cores_of_a_pool():
    assert takes("cores", lambda value: Pool(2, cores=value).close()) >= 1  # None


@pytest.mark.parametrize(("argument", "taken"), [("seconds", 0), ("rate_hz", 3), ("battery_wh", 6), ("go_on", 1)])
def test_options_of_a_profile(argument, taken, saved, model):
    def profile(value: object) -> None:
        options = {"seconds": 1e-3, "meter": "none", argument: value}
        if argument == "seconds" and isinstance(value, int | float | np.number) and 0 < value <= 1e6:
            raise EdgesparseRuntimeError("seconds: expected to take long", "")
        model.profile(saved[1], **options)

    if argument == "go_on":  # those that are called fail by themselves, or end it
        for value in ("x", 1, [], b"", 0, Odd(), True):
            with pytest.raises(EdgesparseRuntimeError, match="^go_on: got .*, expected a function"):
                model.profile(saved[1], seconds=1e-3, go_on=value)
    else:
        assert takes(argument, profile) >= taken


@pytest.mark.parametrize(
    "value", ["", "volts", "a\0b", "auto\0", "\ud800", None, 1, b"none", ["none"], Odd(), "x" * 9999]
)
def test_meters_that_are_none(value, saved, model):
    with pytest.raises(EdgesparseRuntimeError, match="^meter: got .*, expected auto, none") as failure:
        model.profile(saved[1], seconds=1e-3, meter=value)

    assert "\n" not in str(failure.value)


def test_repeats_and_counts(saved, model):
    outputs = model.run(saved[1])

    assert takes("repeat", lambda value: model.step_times(saved[1], repeat=value)) == 3
    assert takes("count", lambda value: model.top(outputs, value)) == 4
    assert takes("outputs", model.top) == 0
    assert takes("outputs", lambda value: model.top({"g": value, "s": value})) >= 4


def test_a_model_is_opened_from_a_path_or_bytes(saved):
    for value in ANYTHING:
        with pytest.raises(EdgesparseRuntimeError) as failure:
            Model(value)
        words = str(failure.value)
        assert "\n" not in words and "\0" not in words, words
        assert isinstance(value, str | bytes) or words.endswith("expected a path, or the bytes of an artifact")
    with pytest.raises(EdgesparseRuntimeError, match="^artifact: got "):
        Model(f"{saved[0]}\0.bak")


@pytest.mark.parametrize("argument", ["threads", "pool", "verify_weights"])
def test_options_of_a_model(argument, saved):
    assert 1 <= takes(argument, lambda value: Model(saved[0], **{argument: value}).close()) <= 3
