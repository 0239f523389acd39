"""Numbers as people read them: three digits and a unit, and where each is from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgesparse.pages.element import Markup, joined, shortened, tag
from edgesparse.tables import shown

if TYPE_CHECKING:
    from edgesparse.measure import Figure

NONE = "\N{EN DASH}"
"""What stands where there is no number."""

_Steps = Sequence[tuple[float, str]]

_UNITS: dict[str, _Steps] = {
    "us": ((1e6, "s"), (1e3, "ms"), (1, "µs")),
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
    "J": ((1, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "W": ((1, "W"), (1e-3, "mW")),
    "Hz": ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1, "Hz")),
    "B/s": ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s")),
    "MAC/s": ((1e9, "GMAC/s"), (1e6, "MMAC/s"), (1e3, "kMAC/s"), (1, "MAC/s")),
    "MAC": ((1e9, "GMAC"), (1e6, "MMAC"), (1e3, "kMAC"), (1, "MAC")),
    "hours": ((1, "h"),),
    "h": ((1, "h"),),
    "C": ((1, "°C"),),
    "%": ((1, "%"),),
}
_ORIGINS = {"measured": "measured", "estimated": "estimated", "unavailable": "not available"}


def known(value: float | None) -> float | None:
    """A number that can be drawn; None for what is none, infinite, too large, or no number."""
    try:
        number = float(value) if value is not None else math.nan
    except OverflowError:  # an integer of hundreds of digits
        return None
    return (number if abs(number) > 1e-290 else 0.0) if abs(number) < 1e300 else None


def knowns(values: Iterable[float | None]) -> list[float]:
    """Those that can be drawn."""
    return [number for value in values if (number := known(value)) is not None]


_COUNTS = ("count", "runs", "page faults")


def quantity(value: float | None, unit: str) -> tuple[str, str]:
    """A number of three digits, and the unit that reads best; any other unit stays as it is."""
    value = known(value)
    if value is None:
        return NONE, ""
    size, word = step_of(value, unit)
    if unit in _COUNTS and value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}", word
    return digits(value / size), word


def step_of(value: float, unit: str) -> tuple[float, str]:
    """What to divide a number by, and the unit that it then has."""
    steps = _UNITS.get(unit, ((1, "" if unit in ("count", "1") else shortened(shown(unit), 20)),))
    return next((each for each in steps if abs(value) >= each[0] * 0.9995), steps[-1])


def told(value: float | None, unit: str) -> str:
    """The same in one text, such as 3.21 ms."""
    number, word = quantity(value, unit)
    return f"{number}\N{NO-BREAK SPACE}{word}" if word else number


def tick(value: float) -> str:
    """A round number beside an axis."""
    return f"{value:,.6g}" if abs(value) < 1e6 else digits(value)


def digits(value: float) -> str:
    """A number in three digits, or all digits before its point."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e15:
        return f"{value:.2e}"
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 0.0095:
        return f"{value:.{1 if size >= 9.995 else 2 if size >= 0.9995 else 3}f}"
    return f"{value:.2g}"


def interval(figure: Figure) -> str:
    """The interval of a figure in words; empty where none is known."""
    low, high = known(figure.low), known(figure.high)
    if low is None or high is None:
        return ""
    return f"95\N{NO-BREAK SPACE}%: {told(low, figure.unit)} to {told(high, figure.unit)}"


def origin(word: str) -> Markup:
    """The mark of where a number is from."""
    return tag("span", _ORIGINS.get(str(word), str(word)), class_=f"origin {word if word in _ORIGINS else ''}".strip())


def big(label: str, figure: Figure, extra: str = "") -> Markup:
    """A figure at the top of a page: its value, its interval, where it is from, or why it is missing."""
    number, unit = quantity(figure.value, figure.unit)
    if number == NONE:
        return _big(label, tag("span", "not available", class_="missing"), "", (extra, shown(figure.how)))
    return _big(label, _number(number, unit), figure.origin, (interval(figure), extra))


def plain(label: str, value: float | None, unit: str, word: str, extra: str = "") -> Markup:
    """The same of a number that is not a `Figure`."""
    number, unit = quantity(value, unit)
    return _big(label, _number(number, unit), word, (extra,))


def _number(number: str, unit: str) -> Markup:
    return joined(tag("span", number, class_="number"), " " if unit else None, tag("span", unit, class_="unit"))


def _big(label: str, value: Markup, word: str, extras: Iterable[str]) -> Markup:
    return tag(
        "div",
        tag("dt", label),
        tag("dd", value, class_="value"),
        tag("dd", origin(word), class_="extra") if word else None,
        (tag("dd", shortened(extra, 200), class_="extra") for extra in extras if extra),
        class_="big",
    )
