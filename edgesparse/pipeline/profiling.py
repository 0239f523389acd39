"""Run artifacts for a while on a device: latency, memory, energy, and how long a battery lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgesparse.errors import MeasureError, in_words
from edgesparse.imports import function, importable
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.kinds import require_kinds
from edgesparse.signatures import PAGE
from edgesparse.tables import Note, Part, Report, Table, bytes_text, time_text

if TYPE_CHECKING:
    from edgesparse_runtime import Profile

    from edgesparse.devices.session import Device, Profiling
    from edgesparse.measure import Figure, Given
    from edgesparse.measure.readings import Readings

MOST = 1e6
"""Seconds, inferences a second, and watt-hours."""

EXTERNAL = "external"
"""What the runtime calls a meter whose readings are elsewhere."""

LEAST_SECONDS = 0.01
SHORTEST_WINDOW_S = 10.0
"""Of a figure of energy, as MLPerf has it."""

SLOWED = 1.1
"""The last tenth of the time over the first, in which a device has slowed down."""


@dataclass(frozen=True, repr=False)
class ProfileReport(Report):
    """Profiles by the artifacts that they are of, and the score of each where one was asked for."""

    profiles: dict[str, Profile]
    scores: dict[str, float]

    def parts(self) -> Iterator[Part]:
        """For each artifact its figures and its steps."""
        for name, profile in self.profiles.items():
            yield f"{name}: {profile.runs} inferences in {profile.seconds:.1f} s, {_how(profile)}"
            yield profile.where
            if name in self.scores:
                yield f"score {self.scores[name]:g}"
            yield Table(("figure", "value", "95 % interval", "how"), [_row(*each) for each in _figures(profile)])
            yield from _energy(profile)
            yield from _state(profile)
            total_us = sum(step.median_us for step in profile.steps) or 1.0
            rows = [
                (s.name, s.op, s.kernel, f"{s.p10_us:.1f}", f"{s.median_us:.1f}", f"{100 * s.median_us / total_us:.1f}")
                for s in profile.steps
            ]
            yield Table(("step", "op", "kernel", "p10 us", "median us", "%"), rows)


def _how(profile: Profile) -> str:
    rate = f"{profile.rate_hz:g} a second" if profile.rate_hz else "one after the other"
    if profile.missed.value:
        rate += f" wanted, {profile.runs / profile.seconds:.1f} reached"
    return f"{rate}, {profile.threads} thread(s)"


def _figures(profile: Profile) -> Iterator[tuple[str, Figure]]:
    """What can be had everywhere, with names."""
    for name in ("p10", "median", "p90", "p99", "worst"):
        yield name, getattr(profile, name)
    yield from (("open", profile.opened), ("first inference", profile.first))
    yield from (("burst", profile.burst), ("sustained", profile.sustained))
    if profile.rate_hz:
        yield "missed", profile.missed
    memory = profile.memory
    yield from (("peak memory", memory.peak), ("arena", memory.arena), ("weights", memory.weights))
    yield "page faults, major", memory.major_faults


def _row(name: str, figure: Figure) -> tuple[str, str, str, str]:
    interval = "" if figure.low is None or figure.high is None else f"{_text(figure, figure.low)} to "
    return name, _text(figure, figure.value), interval and interval + _text(figure, figure.high), figure.how


def _text(figure: Figure, value: float | None) -> str:
    """A value in the unit that reads best."""
    if value is None:
        return "unavailable"
    match figure.unit:
        case "us":
            return time_text(value)
        case "bytes":
            return bytes_text(value)
        case "J":
            return f"{value * 1e3:.4g} mJ" if value < 1 else f"{value:.4g} J"
        case "runs" | "page faults":
            return f"{value:.0f}"
    return f"{value:.4g} {figure.unit}"


def _energy(profile: Profile) -> Iterator[Part]:
    energy = profile.energy
    if energy.gross.value is None:
        yield f"energy: unavailable: {energy.gross.how}"
    else:
        figures = (
            *(("energy of an inference", energy.gross), ("net of idle", energy.net)),
            *(("power while running", energy.mean), ("power when idle", energy.idle)),
        )
        yield Table(("figure", "value", "95 % interval", "how"), [_row(*each) for each in figures])
    for rail in energy.rails:
        shunt = f", shunt {rail.shunt_ohm:g} ohm as its driver was told" if rail.shunt_ohm is not None else ""
        yield f"rail {rail.name}: {rail.reads}{shunt}"
    if profile.battery.value is not None:
        rate = f"{profile.runs / profile.seconds:.4g} inferences a second"
        yield f"battery: {profile.battery.value:.2f} h at {rate}: {profile.battery.how}"
    elif "no battery" not in profile.battery.how:
        yield f"battery: unavailable: {profile.battery.how}"


def _state(profile: Profile) -> Iterator[Part]:
    """The device before and after, and what speaks against the figures."""
    told = []
    for when, state in (("before", profile.before), ("after", profile.after)):
        heat = None if state.temperature_c is None else f"{state.temperature_c:.1f} C"
        clock = None if state.clock_hz is None else f"{state.clock_hz / 1e6:.0f} MHz"
        governor = state.governor and f"governor {state.governor}"
        words = [word for word in (heat, clock, governor, *state.throttled) if word]
        told.append(f"{when}: {', '.join(words) or 'it does not tell its temperature or clock'}")
    yield "; ".join(told)
    if profile.after.throttled:
        yield Note(f"the device holds itself back: {', '.join(profile.after.throttled)}", warning=True)
    burst, sustained = profile.burst.value, profile.sustained.value
    if profile.missed.value:
        yield Note(f"{profile.missed.value:.0f} inferences that were due were late, or left out", warning=True)
    if burst and sustained and sustained > SLOWED * burst:
        yield Note(f"inferences took {sustained / burst:.2f} times as long at the end as at first", warning=True)


@near_names
@require_kinds
def profile(
    artifacts: str | Path | Sequence[str | Path],
    inputs: Given = None,
    *,
    seconds: float = 10.0,
    rate_hz: float | None = None,
    meter: str = "auto",
    battery_wh: float | None = None,
    threads: int = 1,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    eval: str | Callable[[str], float] | None = None,
    html: str | Path | None = None,
    progress: Progress = silent,
) -> ProfileReport:
    """Run artifacts one after the other, each for a while in a new process, and tell what that took.

    Args:
        artifacts: one, or several to compare.
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: for which each runs; energy needs 60, and a sixth of it more before and after.
        rate_hz: how often an inference is due; one right after the other by default.
        meter: "auto", "none", "pmic", "jetson", "hwmon", "hwmon:NAME", "rapl", "battery", "android" for the battery of
            a phone that adb reaches, or the .csv file that the program of an external meter writes.
        battery_wh: of a battery, to tell how long it lasts.
        on, cores, cool_down: the device, as for `bench`.
        html: also write the report to this file, as one page that needs no other file.
        eval: scores an artifact by its path: a function, or "package.module:function".

    Raises: EdgesparseError: an artifact cannot be run there, an option cannot be, or there is no such meter.
    """
    from edgesparse.devices.here import named
    from edgesparse.devices.session import Profiling
    from edgesparse.measure.android import METER
    from edgesparse.measure.readings import require_clock

    paths = _listed(artifacts)
    log = Path(meter) if meter.lower().endswith(".csv") else None
    if meter == EXTERNAL:
        raise MeasureError(f"meter: got {EXTERNAL!r}, expected the .csv file that the program of the meter writes")
    wanted = Profiling(seconds, rate_hz, EXTERNAL if log or meter == METER else meter, battery_wh)
    _require(wanted)
    score = _score(eval)
    if log:
        require_clock(log)
    if html is not None:
        require_writable(Path(html), PAGE, paths)
    device = named(on, progress, cores=cores, cool_down=cool_down)
    run = partial(_profiled, device, inputs=inputs, wanted=wanted, threads=threads, progress=progress)
    if meter == METER:
        run = partial(_by_battery, run, on, battery_wh)
    profiles = {str(path): run(path) for path in paths}
    if log:
        profiles = {name: _logged(each, log, battery_wh) for name, each in profiles.items()}
    report = ProfileReport(profiles, _scores(paths, score))
    if html is not None:
        with written(Path(html)) as temporary:
            temporary.write_text(_page(report, threads), encoding="utf-8")
    return report


def _listed(artifacts: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Each of them once.

    Raises: MeasureError: something else is among them.
    """
    paths = [artifacts] if isinstance(artifacts, str | Path) else artifacts
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | Path) for path in paths):
        raise MeasureError(f"profile: got artifacts={artifacts!r:.60}, expected the path of one or several")
    if not paths:
        raise MeasureError("profile: got no artifact, expected one or several")
    return [*dict.fromkeys(paths)]


def _require(wanted: Profiling) -> None:
    """Raises: MeasureError: an amount is none that can be measured."""
    if wanted.seconds < LEAST_SECONDS:
        raise MeasureError(f"profile: got seconds={wanted.seconds:g}, expected {LEAST_SECONDS:g} or more")
    for name, value in (("seconds", wanted.seconds), ("rate_hz", wanted.rate_hz), ("battery_wh", wanted.battery_wh)):
        if value is not None and not 0 < value <= MOST:
            raise MeasureError(f"profile: got {name}={value!r:.60}, expected more than 0 and at most {MOST:g}")


def _profiled(
    device: Device, path: str | Path, inputs: Given, wanted: Profiling, threads: int, progress: Progress
) -> Profile:
    from edgesparse import measure
    from edgesparse.devices.session import where

    stage = f"profiling {path}"
    progress(stage)
    with device.open(path, threads) as session:
        feeds = measure.feeds_for(session.inputs, inputs)
        told = session.profile(feeds, wanted, lambda share: progress(stage, share))
        return replace(told, where=where(device, session) or told.where)


def _by_battery(
    run: Callable[[str | Path], Profile], on: str | None, battery_wh: float | None, path: str | Path
) -> Profile:
    """The profile with what the phone's battery gave while it was made."""
    from edgesparse.measure.android import METER, battery_log

    with battery_log(on) as log:
        profile = run(path)
    return _weighed(profile, log.readings, METER, battery_wh)


def _logged(profile: Profile, log: Path, battery_wh: float | None) -> Profile:
    """The profile with what the meter logged while it was made."""
    from edgesparse.measure.readings import read_log_until

    end_s = profile.energy.windows[-1].end_unix_ns / 1e9
    return _weighed(profile, partial(read_log_until, log, end_s), str(log), battery_wh)


def _weighed(profile: Profile, read: Callable[[], Readings], meter: str, battery_wh: float | None) -> Profile:
    """The profile with the readings of a meter, or with why there are none."""
    from edgesparse_runtime import with_readings

    try:
        readings = read()
    except MeasureError as err:
        return _unweighed(profile, err)
    return with_readings(profile, readings.joules, meter, battery_wh, SHORTEST_WINDOW_S)


def _unweighed(profile: Profile, why: MeasureError) -> Profile:
    """The profile, which says why its energy is not known."""
    from edgesparse.measure import Figure

    watts, joules, hours = (Figure.unavailable(unit, str(why)) for unit in ("W", "J", "h"))
    energy = replace(profile.energy, idle=watts, mean=watts, gross=joules, net=joules)
    return replace(profile, energy=energy, battery=hours)


def _page(report: ProfileReport, threads: int) -> str:
    from edgesparse import pages

    facts = {
        name: pages.of_artifact(name, [step.kernel for step in profile.steps], threads)
        for name, profile in report.profiles.items()
    }
    return pages.profile_page(report.profiles, facts, report.scores)


def _score(eval: str | Callable[[str], float] | None) -> Callable[[str], float] | None:
    """The user's function.

    Raises: MeasureError: there is none.
    """
    if eval is not None and not isinstance(eval, str) and not callable(eval):
        raise MeasureError(f"eval: got {eval!r:.60}, expected a function of a path, or package.module:function")
    if not isinstance(eval, str):
        return eval
    with importable(Path.cwd()):
        return cast(Callable[[str], float], function(eval, MeasureError, "eval"))


def _scores(paths: Sequence[str | Path], score: Callable[[str], float] | None) -> dict[str, float]:
    """What the user's function says of each artifact.

    Raises: MeasureError: it fails.
    """
    if score is None:
        return {}
    with importable(Path.cwd()):
        try:
            return {str(path): float(score(str(path))) for path in paths}
        except Exception as err:
            raise MeasureError(f"eval: {in_words(err)}") from err
