"""What `Model.profile` tells: the latency, memory and energy of a model that runs for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesparse_runtime import _profiler
from edgesparse_runtime._figure import Figure, Origin

SCHEMA = 1
"""Of a profile as JSON. It grows when a field changes its meaning or goes; new fields may come without."""


@dataclass(frozen=True)
class StepTiming:
    """How long one kernel call of a model took, in every run that was measured."""

    name: str  # the layer in the ONNX model
    op: str
    kernel: str
    tiles: int
    times_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """The median over the runs, in microseconds."""
        return float(np.median(self.times_us))


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: how many inferences took at least `begin_us` and less than `end_us`."""

    begin_us: float
    end_us: float
    runs: int


@dataclass(frozen=True)
class Slot:
    """A sixtieth of the time that was measured; None where there were no runs or nothing could be read."""

    begin_s: float  # since the first inference that counts
    runs: int
    p10_us: float | None
    median_us: float | None
    p90_us: float | None
    worst_us: float | None
    watts: float | None
    temperature_c: float | None
    clock_hz: float | None


@dataclass(frozen=True)
class Step:
    """A kernel call of the plan, and how long it took."""

    name: str  # the layer in the ONNX model
    op: str
    kernel: str
    tiles: int
    p10_us: float
    median_us: float


@dataclass(frozen=True)
class MemoryProfile:
    """Memory of the process that ran the model, in bytes, and page faults while it ran, as counts."""

    peak: Figure
    mapped: Figure
    anonymous: Figure
    arena: Figure
    weights: Figure
    minor_faults: Figure
    major_faults: Figure


@dataclass(frozen=True)
class Rail:
    """A supply that a meter reads."""

    name: str
    reads: str  # "energy", "power", or "voltage and current"
    shunt_ohm: float | None  # that the meter's driver was told; all it reads scales with it


@dataclass(frozen=True)
class Window:
    """A time for which energy was measured; several make a figure."""

    busy: bool  # the model ran
    begin_unix_ns: int
    end_unix_ns: int
    runs: int
    samples: int  # of the meter
    joules: float | None


@dataclass(frozen=True)
class EnergyProfile:
    """What the device consumed; `net` is without what it consumes while the model does not run."""

    meter: str  # "" where there is none
    rails: tuple[Rail, ...]
    idle: Figure  # W
    mean: Figure  # W, while the model ran
    gross: Figure  # J for each inference
    net: Figure  # J for each inference
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class State:
    """The device at one moment; None where it does not tell."""

    temperature_c: float | None  # of the hottest sensor
    clock_hz: float | None  # of the fastest core
    governor: str | None
    throttled: tuple[str, ...]  # what holds it back


@dataclass(frozen=True)
class Profile:
    """A model that ran for a while: times in microseconds, wall time of one inference unless it says otherwise."""

    schema: int
    where: str  # the device
    seconds: float  # for which it ran, the idle windows left out
    threads: int
    rate_hz: float | None  # None: one inference right after the other
    runs: int
    opened: Figure  # opening the artifact and its threads
    first: Figure  # the first inference
    p10: Figure
    median: Figure
    p90: Figure
    p99: Figure
    worst: Figure
    burst: Figure  # the median of the first tenth of the time
    sustained: Figure  # the median of the last tenth
    missed: Figure  # a count: inferences that were not done when the next was due
    histogram: tuple[Bar, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    memory: MemoryProfile
    energy: EnergyProfile
    battery: Figure  # hours
    before: State
    after: State


THROTTLED = {0: "undervoltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of the firmware of a Raspberry Pi; each is also 16 further up, where it has happened since the start.

Source: raspberrypi.com, documentation of vcgencmd get_throttled.
"""

_SHARES = {"p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99}


def profile_of(
    told: Mapping[str, Any],
    steps: Sequence[StepTiming],
    threads: int,
    rate_hz: float | None,
    battery_wh: float | None,
    where: str = "this machine",
) -> Profile:
    """A profile, from what the profiler told by the names of its fields."""
    missed = (
        Figure(told["missed"], "runs", Origin.MEASURED, "those that were due and not done when the next was due")
        if rate_hz
        else Figure.unavailable("runs", "nothing was due: no rate was asked for")
    )
    return Profile(
        schema=SCHEMA,
        where=where,
        seconds=told["seconds"],
        threads=threads,
        rate_hz=rate_hz,
        runs=told["runs"],
        opened=_time(told["opened_ns"], "opening the artifact and its threads, once"),
        first=_time(told["first_ns"], "the first inference after opening"),
        **{name: _percentile(told, name) for name in _SHARES},
        worst=_time(told["worst_ns"], "the longest inference"),
        burst=_time(told["burst_ns"], "median of the first tenth of the time"),
        sustained=_time(told["sustained_ns"], "median of the last tenth of the time"),
        missed=missed,
        histogram=tuple(Bar(begin / 1e3, end / 1e3, runs) for begin, end, runs in told["bars"]),
        slots=tuple(_slot(at, slot, told["seconds"] / len(told["slots"])) for at, slot in enumerate(told["slots"])),
        steps=tuple(
            Step(s.name, s.op, s.kernel, s.tiles, float(np.percentile(s.times_us, 10)), s.median_us) for s in steps
        ),
        memory=_memory({**told, **told["resident"]}),
        energy=energy_of(told),
        battery=_battery(told, battery_wh),
        before=_state(told["before"]),
        after=_state(told["after"]),
    )


def _percentile(told: Mapping[str, Any], name: str) -> Figure:
    value, low, high = told[f"{name}_ns"]
    if value is None:
        least = _profiler.least_runs(_SHARES[name])
        return Figure.unavailable("us", f"{name} of {told['runs']} runs: too few, at least {least}")
    interval = "no interval: too few in a window" if low is None else "interval: the lowest and highest of six windows"
    how = f"of all inferences; {interval}"
    return Figure(value / 1e3, "us", Origin.MEASURED, how, _us(low), _us(high))


def _time(ns: float | None, how: str) -> Figure:
    if ns is None:
        return Figure.unavailable("us", "there were no inferences in that time")
    return Figure(ns / 1e3, "us", Origin.MEASURED, how)


def _slot(at: int, told: Mapping[str, Any], seconds: float) -> Slot:
    times = {f"{name}_us": _us(told[f"{name}_ns"]) for name in ("p10", "median", "p90", "worst")}
    state = {name: told[name] for name in ("watts", "temperature_c", "clock_hz")}
    return Slot(begin_s=at * seconds, runs=told["runs"], **times, **state)


def _us(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e3


def _memory(told: Mapping[str, Any]) -> MemoryProfile:
    sources = {
        "peak_bytes": ("bytes", "peak of the resident set (VmHWM)"),
        "mapped_bytes": ("bytes", "resident pages of files (RssFile); they are shared, and given back under pressure"),
        "anonymous_bytes": ("bytes", "resident anonymous memory (RssAnon)"),
        "arena_bytes": ("bytes", "activations of a session, from the artifact"),
        "weights_bytes": ("bytes", "mapped from the artifact once for all sessions"),
        "minor_faults": ("page faults", "without a read of the disk (getrusage)"),
        "major_faults": ("page faults", "with a read of the disk (getrusage)"),
    }
    return MemoryProfile(
        **{
            name.removesuffix("_bytes"): Figure(int(told[name]), unit, Origin.MEASURED, how)
            if told.get(name) is not None
            else Figure.unavailable(unit, "this system has no /proc/self/status")
            for name, (unit, how) in sources.items()
        }
    )


def energy_of(told: Mapping[str, Any]) -> EnergyProfile:
    """What the profiler told of energy."""
    how = told["energy_how"]
    figures = {name: _energy(told[f"{name}_{unit.lower()}"], unit, how) for name, unit in _ENERGY.items()}
    names = ("begin_unix_ns", "end_unix_ns", "runs", "samples", "joules")
    return EnergyProfile(
        meter=told["meter"],
        rails=tuple(Rail(rail["name"], rail["reads"], rail["shunt_ohm"]) for rail in told["rails"]),
        windows=tuple(
            Window(busy=bool(window["busy"]), **{name: window[name] for name in names}) for window in told["windows"]
        ),
        **figures,
    )


_ENERGY = {"idle": "W", "mean": "W", "gross": "J", "net": "J"}


def with_readings(
    profile: Profile,
    joules: Callable[[float, float], tuple[float, int]],
    meter: str,
    battery_wh: float | None = None,
    shortest_window_s: float = 0.0,
) -> Profile:
    """A profile with energy from a meter elsewhere.

    Args:
        joules: the energy between two times in seconds since 1970, NaN where it is not known, and from how many
            readings.
        meter: what it is called.
        shortest_window_s: a shorter window makes no figure; 0: 10 s.
    """
    windows = []
    for window in profile.energy.windows:
        energy, samples = joules(window.begin_unix_ns / 1e9, window.end_unix_ns / 1e9)
        read = {"joules": None if np.isnan(energy) else energy, "samples": samples, "doubt_j": 0.0}
        times = {"begin_ns": window.begin_unix_ns, "end_ns": window.end_unix_ns}
        windows.append({**vars(window), **times, **read})
    told = {**_profiler.weighed(windows, meter, shortest_window_s), "meter": meter, "rails": (), "windows": windows}
    return replace(profile, energy=energy_of(told), battery=_battery(told, battery_wh))


def _energy(told: Sequence[float | None], unit: str, how: str) -> Figure:
    value, low, high = told
    return Figure.unavailable(unit, how) if value is None else Figure(value, unit, Origin.MEASURED, how, low, high)


def _battery(told: Mapping[str, Any], battery_wh: float | None) -> Figure:
    if battery_wh is None:
        return Figure.unavailable("h", "no battery was named, such as 18.5Wh")
    watts, low, high = told["mean_w"]
    if watts is None:
        return Figure.unavailable("h", told["energy_how"])
    how = f"{battery_wh:g} Wh over the mean power while the model ran; a battery gives less when it is cold or old"
    ends = (battery_wh / end if end else None for end in (high, low))
    return Figure(battery_wh / watts, "h", Origin.ESTIMATED, how, *ends)


def _state(told: Mapping[str, Any]) -> State:
    bits = told["throttled"] or 0
    return State(
        temperature_c=told["temperature_c"],
        clock_hz=told["clock_hz"],
        governor=told["governor"] or None,
        throttled=tuple(words for bit, words in THROTTLED.items() if int(bits) >> bit & 1),
    )
