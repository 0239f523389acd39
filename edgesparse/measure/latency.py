"""Wall time of inferences; several programs are timed in turns, so that noise hits all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from edgesparse.errors import MeasureError
from edgesparse.measure.figure import Origin

MIN_RUNS = 10


@dataclass(frozen=True)
class Latency:
    """Wall time of one inference over `runs` runs, in microseconds."""

    runs: int
    p10_us: float
    median_us: float
    p90_us: float
    origin: Origin = Origin.MEASURED


@dataclass(frozen=True)
class Elapsed:
    """What a program returns that has timed itself, because it runs in another process."""

    ns: int


@dataclass(frozen=True)
class Schedule:
    """How long to measure: at least `seconds` and MIN_RUNS rounds, at most `max_runs`, after a warm-up.

    `pause_s` is slept before each turn: worker threads of the program before stop spinning.
    `turn` is how many runs of a program follow each other. Where it is more than one, the first is not counted: the
    caches hold what the program before left there.
    """

    seconds: float = 3.0
    warmup_seconds: float = 0.5
    max_runs: int = 10_000
    pause_s: float = 0.0
    turn: int = 1


def _is_length(seconds: object) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds < math.inf


def interleave(programs: Mapping[str, Callable[[], object]], schedule: Schedule | None = None) -> dict[str, Latency]:
    """Time the programs in turns, again and again.

    Raises: MeasureError: `seconds` is negative or no number, `max_runs` is below MIN_RUNS or `turn` below 1.
    """
    plan = schedule or Schedule()
    if not _is_length(plan.seconds) or plan.max_runs < MIN_RUNS or plan.turn < 1:
        raise MeasureError(
            f"bench: got seconds={plan.seconds!r}, max_runs={plan.max_runs} and turn={plan.turn}, "
            f"expected seconds >= 0, max_runs >= {MIN_RUNS} and turn >= 1"
        )
    times_us: dict[str, list[float]] = {name: [] for name in programs}
    with _quiet():
        _rounds(programs, plan, plan.warmup_seconds, 1, {name: [] for name in programs})
        _rounds(programs, plan, plan.seconds, MIN_RUNS, times_us)
    return {name: summarise(values) for name, values in times_us.items()}


def _rounds(
    programs: Mapping[str, Callable[[], object]],
    plan: Schedule,
    seconds: float,
    min_rounds: int,
    times_us: Mapping[str, list[float]],
) -> None:
    end = time.perf_counter() + seconds
    for done in range(plan.max_runs):
        if done >= min_rounds and time.perf_counter() >= end:
            return
        for name, run in programs.items():
            if plan.pause_s:
                time.sleep(plan.pause_s)
            for at in range(plan.turn):
                start = time.perf_counter_ns()
                result = run()
                ns = result.ns if isinstance(result, Elapsed) else time.perf_counter_ns() - start
                if at or plan.turn == 1:
                    times_us[name].append(ns / 1000)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Python's garbage collector out of the measurement."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def summarise(values_us: Sequence[float]) -> Latency:
    """Percentiles of at least two times, in microseconds."""
    deciles = statistics.quantiles(values_us, n=10, method="inclusive")
    return Latency(len(values_us), p10_us=deciles[0], median_us=statistics.median(values_us), p90_us=deciles[8])
