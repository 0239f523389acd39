"""Axes hold any values, and have round numbers along them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.pages.axes import Axis


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 10), [0, 2, 4, 6, 8, 10]),
        (Axis(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis(47, 83), [50, 60, 70, 80]),
        (Axis(-3, 3), [-2, 0, 2]),
        (Axis(1, 10_000, log=True), [1, 10, 100, 1000, 10_000]),
        (Axis(0.9, 30, log=True), [1, 2, 5, 10, 20]),
        (Axis(100, 300, log=True), [100, 150, 200, 250, 300]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


def test_a_logarithmic_axis_gives_every_decade_the_same_room():
    axis = Axis(1, 1000, log=True)

    assert [axis.at(value) for value in (0, 1, 10, 100, 1000, 9999)] == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])


@given(st.lists(st.floats() | st.integers().map(float), max_size=5), st.booleans(), st.booleans())
def test_any_values_fit_an_axis(values, log, zero):
    axis = Axis.around(values, log=log, zero=zero)

    assert axis.low < axis.high and math.isfinite(axis.high - axis.low)
    assert all(0 <= axis.at(value) <= 1 for value in values if math.isfinite(value))
    assert len(axis.ticks()) <= 14 and all(map(math.isfinite, axis.ticks()))
