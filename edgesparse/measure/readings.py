"""The log of a meter beside the device: a table of readings with the time of each."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from edgesparse.errors import MeasureError

LONGEST_BEHIND_S = 3600.0
"""Before a measurement: a log that ended earlier is none of it."""

PATIENCE_S = 30.0
"""How long a log may be behind: some programs write now and then."""

_UNITS = {"u": 1e-6, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
_COLUMNS = {
    "time": re.compile(r"(?:unix|epoch|wall|time|timestamp|datetime|t)(?:[ _\[(]*(?P<unit>[nuµm]?)s\W*)?", re.I),
    "power": re.compile(r"(?:power|p|watts)(?:[ _\[(]+(?P<unit>[uµmk]?)w\W*)?", re.I),
    "voltage": re.compile(r"(?:voltage|volts|v|u|vbus)(?:[ _\[(]+(?P<unit>[uµmk]?)v\W*)?", re.I),
    "current": re.compile(r"(?:current|amps|i|a|ibus)(?:[ _\[(]+(?P<unit>[uµmk]?)a\W*)?", re.I),
}
"""Headings, with the unit of their column behind them; s, W, V and A where there is none."""


@dataclass(frozen=True)
class Readings:
    """Power over time: seconds of the wall clock since 1970, in order, and watts."""

    times_s: np.ndarray
    watts: np.ndarray

    def joules(self, begin_s: float, end_s: float) -> tuple[float, int]:
        """Energy between two times, by the trapezoidal rule, and how many readings lie between; NaN beyond the log."""
        if len(self.times_s) < 2 or begin_s < self.times_s[0] or end_s > self.times_s[-1]:
            return math.nan, 0
        inside = (self.times_s > begin_s) & (self.times_s < end_s)
        times = np.concatenate([[begin_s], self.times_s[inside], [end_s]])
        watts = np.interp(times, self.times_s, self.watts)
        return float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2)), int(inside.sum())


def read_log(path: Path) -> Readings:
    """Read a log: a line of headings, then lines of as many fields, with commas, semicolons, tabs or spaces between.

    One column is the time, of the wall clock: seconds, milliseconds or nanoseconds since 1970, or ISO 8601. Power is
    a column, or the product of voltage and current.

    Raises: MeasureError: it cannot be read, or has no such columns.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as err:
        raise MeasureError(f"{path}: {err.strerror}") from err
    rows = _rows(lines)
    if len(rows) < 2:
        raise MeasureError(f"{path}: holds no readings, expected a line of headings and lines of readings")
    columns = _columns(rows[0][1], path)
    times, watts = [], []
    for number, row in rows[1:]:
        if len(row) < len(rows[0][1]):
            continue  # the last line, which is being written
        read = {name: _number(row[at], name, f"{path}: line {number}") * scale for name, (at, scale) in columns.items()}
        times.append(read["time"])
        watts.append(read["power"] if "power" in read else read["voltage"] * read["current"])
    order = np.argsort(times, kind="stable")
    order = order[np.unique(np.array(times)[order], return_index=True)[1]] if times else order  # one of each time
    return Readings(np.array(times)[order], np.array(watts)[order])


def require_clock(path: Path) -> None:
    """Check before a measurement that a log can be read, and counts by the wall clock.

    Raises: MeasureError: it cannot, or does not.
    """
    times_s = read_log(path).times_s
    if len(times_s) and times_s[-1] < time.time() - LONGEST_BEHIND_S:
        ended = datetime.fromtimestamp(float(times_s[-1])).isoformat(sep=" ", timespec="seconds")
        raise MeasureError(f"{path}: its readings end at {ended}; expected a log of now, by the wall clock")


def read_log_until(path: Path, end_s: float) -> Readings:
    """Read a log that is still being written, when it has readings behind a time.

    Raises: MeasureError: as `read_log`, or it has none after some patience.
    """
    patience = time.monotonic() + PATIENCE_S
    while True:
        readings = read_log(path)
        last_s = float(readings.times_s[-1]) if len(readings.times_s) else 0.0
        if last_s >= end_s:
            return readings
        if time.monotonic() > patience:
            ended = datetime.fromtimestamp(last_s).isoformat(sep=" ", timespec="seconds")
            raise MeasureError(
                f"{path}: its readings end at {ended}, {end_s - last_s:.0f} s before the measurement did; "
                "start the meter's log before, and set the clock that it writes by"
            )
        time.sleep(0.5)


def _rows(lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The fields of each line that has any, with its number."""
    told = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    between = next((sign for sign in "\t;," if told and sign in told[0][1]), None)
    return [(number, [field.strip(' "') for field in line.split(between)]) for number, line in told]


def _columns(headings: Sequence[str], path: Path) -> Mapping[str, tuple[int, float]]:
    """Where each quantity stands, and what its column is to be multiplied by.

    Raises: MeasureError: time or power are missing.
    """
    found: dict[str, tuple[int, float]] = {}
    for at, heading in enumerate(headings):
        for name, pattern in _COLUMNS.items():
            matched = pattern.fullmatch(heading.strip())
            if matched and name not in found:
                unit = (matched["unit"] or "").lower() if name != "time" else ""
                found[name] = (at, _UNITS[unit])
    if "time" not in found and (dates := [at for at, heading in enumerate(headings) if heading.lower() == "date"]):
        found["time"] = (dates[0], 1.0)
    if "time" not in found or ("power" not in found and not {"voltage", "current"} <= found.keys()):
        raise MeasureError(
            f"{path}: has columns {', '.join(headings)[:100]}, expected time, and power_w or voltage_v and current_a"
        )
    return found


def _number(text: str, name: str, where: str) -> float:
    """A number of a column: of the time, in seconds since 1970.

    Raises: MeasureError: it is none, or none that can be.
    """
    try:
        number = _seconds(text) if name == "time" else float(text)
    except (ValueError, OverflowError):
        number = math.nan
    if name == "time" and not 0 <= number < 1e11:
        raise MeasureError(f"{where}: got the time {text!r}, expected seconds or milliseconds since 1970, or ISO 8601")
    if not math.isfinite(number):
        raise MeasureError(f"{where}: got the {name} {text!r}, expected a number with a point, such as 5.02")
    return number


def _seconds(text: str) -> float:
    """Seconds since 1970, from a number, whose size tells its unit, or from ISO 8601.

    Raises: ValueError: it is neither.
    """
    try:
        number = float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
    for limit, scale in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)):
        if number > limit:
            return number * scale
    return number
