"""An artifact's latency and memory, by itself or in turns with other runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgesparse_runtime import arrange

from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device, Timed, where
from edgesparse.errors import MeasureError
from edgesparse.measure.feeds import Given, feeds_for
from edgesparse.measure.latency import Latency, take_turns
from edgesparse.measure.memory import Memory
from edgesparse.measure.rivals import open_rival
from edgesparse.tables import Note, Part, Report, Table, bytes_text, time_text

EDGESPARSE = "edgesparse"


@dataclass(frozen=True)
class Contender:
    """What one runtime reached. `ratio` is its median over that of edgesparse, `ratio_p10` its p10 over ours."""

    runtime: str
    model: str
    latency: Latency
    ratio: float
    ratio_p10: float
    memory: Memory


@dataclass(frozen=True)
class StepTime:
    """Median time of one kernel call of the artifact."""

    name: str
    op: str
    kernel: str
    median_us: float


@dataclass(frozen=True, repr=False)
class BenchReport(Report):
    """Contenders measured in turns, edgesparse first; `steps` only if they were asked for.

    `where` says on what device where that was not this machine, `device` what it said of itself before.
    """

    threads: int
    contenders: tuple[Contender, ...]
    steps: tuple[StepTime, ...] = ()
    where: str = ""
    device: DeviceFacts | None = None

    def parts(self) -> Iterator[Part]:
        """One row for each runtime, and how many times as fast as it edgesparse is."""
        if self.where:
            yield Note(self.where)
        if self.device is not None:
            yield from self.device.warnings("the device")
        rows = [
            (
                each.runtime,
                time_text(each.latency.median_us),
                time_text(each.latency.p10_us),
                time_text(each.latency.p90_us),
                f"{each.ratio:.2f}x",
                bytes_text(each.memory.peak.value),
                each.latency.runs,
            )
            for each in self.contenders
        ]
        yield Table(("runtime", "median", "p10", "p90", "over ours", "peak memory", "runs"), rows)
        for each in self.contenders[1:]:
            yield (f"edgesparse is {each.ratio:.2f}x as fast as {each.runtime} (median; p10: {each.ratio_p10:.2f}x)")
        if self.steps:
            steps = [(step.name, step.op, step.kernel, f"{step.median_us:.1f}") for step in self.steps]
            yield Table(("step", "op", "kernel", "us"), steps)
        yield f"{self.threads} thread(s); memory: {self.contenders[0].memory.peak.how}"


def bench(
    artifact: Path,
    *,
    device: Device = LOCAL,
    threads: int = 1,
    against: Sequence[str] = (),
    model: Path | None = None,
    inputs: Given = None,
    seconds: float = 3.0,
    steps: bool = False,
) -> BenchReport:
    """Measure an artifact, in turns with the runtimes in `against`, which run the ONNX file `model`.

    Args:
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: how long to measure all of them together.
        steps: also time every kernel call.

    Raises: MeasureError: something cannot be opened, or `against` lacks a `model`.
    """
    if against and device is not LOCAL:
        raise MeasureError(f"bench: {', '.join(against)} runs on this machine alone, not on {device.name}")
    if against and model is None:
        raise MeasureError(f"bench: {', '.join(against)} needs the ONNX model; remedy: --model MODEL.onnx")
    files = {EDGESPARSE: artifact} | (dict.fromkeys(against, model) if model else {})
    with device.open(artifact, threads) as opened, ExitStack() as stack:
        feeds = feeds_for(opened.inputs, inputs)
        arrange((feeds,), opened.inputs)  # says what does not fit
        sessions: dict[str, Timed] = {EDGESPARSE: opened}
        for name in against:
            sessions[name] = stack.enter_context(open_rival(name, files[name], threads))
        times = take_turns(sessions, feeds, seconds)
        memory = {name: Memory.of(session.meters(feeds)) for name, session in sessions.items()}
        profile = opened.step_times(feeds) if steps else []
        place = where(device, opened)
    ours = times[EDGESPARSE]
    contenders = tuple(
        Contender(
            name,
            str(files[name]),
            latency,
            ratio=latency.median_us / ours.median_us,
            ratio_p10=latency.p10_us / ours.p10_us,
            memory=memory[name],
        )
        for name, latency in times.items()
    )
    timed = tuple(StepTime(s.name, s.op, s.kernel, s.median_us) for s in profile)
    return BenchReport(threads, contenders, timed, place, opened.facts)
