"""An artifact's latency and memory, by itself or in turns with other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgesparse.devices.local import LOCAL
from edgesparse.errors import MeasureError
from edgesparse.measure.feeds import Arrays, Given, feeds_for
from edgesparse.measure.latency import Elapsed, Latency, Schedule, interleave
from edgesparse.measure.memory import ARTIFACT, Memory, measure_memory
from edgesparse.measure.rivals import Runner, open_rival
from edgesparse.tables import Part, Report, Table, bytes_text, time_text

EDGESPARSE = "edgesparse"
_PAUSE_S = 0.002  # longer than worker threads spin after a run


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
    """Contenders measured in turns, edgesparse first; `steps` only if they were asked for."""

    threads: int
    contenders: tuple[Contender, ...]
    steps: tuple[StepTime, ...] = ()

    def parts(self) -> Iterator[Part]:
        """One row for each runtime, and how many times as fast as it edgesparse is."""
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
    threads: int = 1,
    against: Sequence[str] = (),
    model: Path | None = None,
    inputs: Given = None,
    seconds: float = Schedule.seconds,
    steps: bool = False,
) -> BenchReport:
    """Measure an artifact, in turns with the runtimes in `against`, which run the ONNX file `model`.

    Args:
        inputs: arrays by name or in order; seeded random ones by default.
        seconds: how long to measure all of them together.
        steps: also time every kernel call.

    Raises: MeasureError: something cannot be opened, or `against` lacks a `model`.
    """
    if against and model is None:
        raise MeasureError(f"bench: {', '.join(against)} needs the ONNX model; remedy: --model MODEL.onnx")
    files = dict.fromkeys(against, Path(model)) if model else {}
    with LOCAL.open(artifact, threads) as opened:
        feeds = feeds_for(opened.inputs, inputs)
        programs: dict[str, Callable[[], object]] = {EDGESPARSE: partial(opened.run, feeds)}
        for name, path in files.items():
            programs[name] = _timed(open_rival(name, path, threads), feeds)
        pause_s = _PAUSE_S if threads > 1 and against else 0.0
        times = interleave(programs, Schedule(seconds, pause_s=pause_s))
        profile = opened.profile(feeds) if steps else []
    files = {EDGESPARSE: Path(artifact), **files}
    ours = times[EDGESPARSE]
    contenders = tuple(
        Contender(
            name,
            str(files[name]),
            latency,
            ratio=latency.median_us / ours.median_us,
            ratio_p10=latency.p10_us / ours.p10_us,
            memory=measure_memory(ARTIFACT if name == EDGESPARSE else name, files[name], threads, feeds),
        )
        for name, latency in times.items()
    )
    return BenchReport(threads, contenders, tuple(StepTime(s.name, s.op, s.kernel, s.median_us) for s in profile))


def _timed(rival: Runner, feeds: Arrays) -> Callable[[], Elapsed]:
    return lambda: Elapsed(rival.time_ns(feeds))
