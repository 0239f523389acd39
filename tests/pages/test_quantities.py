"""Numbers have three digits and the unit that reads best."""

from __future__ import annotations

import math

import pytest

from edgesparse.measure import Figure, Origin
from edgesparse.pages.quantities import NONE, digits, interval, tick, told


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3210.4, "us", "3.21 ms"),
        (999.7, "us", "1.00 ms"),
        (0.5, "us", "0.500 µs"),
        (0.0124, "J", "12.4 mJ"),
        (6.34, "W", "6.34 W"),
        (1 << 20, "bytes", "1.00 MiB"),
        (1000, "bytes", "1,000 B"),
        (2.4e9, "Hz", "2.40 GHz"),
        (1204, "count", "1,204"),
        (7, "count", "7"),
        (0.861, "", "0.861"),
        (-3, "C", "-3.00 °C"),
        (0, "us", "0 µs"),
        (2, "furlongs\n", "2.00 furlongs?"),
        (None, "us", NONE),
        (math.nan, "us", NONE),
        (math.inf, "bytes", NONE),
        (10**400, "count", NONE),
    ],
)
def test_a_quantity_in_words(value, unit, text):
    assert told(value, unit).replace("\N{NO-BREAK SPACE}", " ") == text


def test_small_and_large_numbers_stay_short():
    assert [digits(x) for x in (0.00065, 6.5e-9, 99.96, 1e15)] == ["0.00065", "6.5e-09", "100", "1.00e+15"]
    assert [tick(x) for x in (0.0, 80.0, 2500.0, 0.125, 3e7)] == ["0", "80", "2,500", "0.125", "30,000,000"]


def test_an_interval_needs_both_ends():
    figure = Figure(2.0, "W", Origin.MEASURED, "by a meter", 1.9, 2.1)

    assert interval(figure).replace("\N{NO-BREAK SPACE}", " ") == "95 %: 1.90 W to 2.10 W"
    assert interval(Figure(2.0, "W", Origin.MEASURED, "by a meter", 1.9)) == ""
