"""Latency, memory and agreement with other runtimes."""

from edgesparse.measure.bench import BenchReport, Contender, StepTime, bench
from edgesparse.measure.builds import Build, BuildsReport, compare_builds
from edgesparse.measure.compare import Difference, compare, compare_all
from edgesparse.measure.feeds import Arrays, Given, feeds_for, random_feeds
from edgesparse.measure.figure import Figure, Origin
from edgesparse.measure.latency import Elapsed, Latency, Schedule, interleave, summarise
from edgesparse.measure.memory import Memory, measure_memory
from edgesparse.measure.rivals import RIVALS, open_rival
from edgesparse.measure.steps import step_times_us
from edgesparse.measure.turns import take_turns
from edgesparse.measure.worker import Unavailable, Worker

__all__ = [
    "RIVALS",
    "Arrays",
    "BenchReport",
    "Build",
    "BuildsReport",
    "Contender",
    "Difference",
    "Elapsed",
    "Figure",
    "Given",
    "Latency",
    "Memory",
    "Origin",
    "Schedule",
    "StepTime",
    "Unavailable",
    "Worker",
    "bench",
    "compare",
    "compare_all",
    "compare_builds",
    "feeds_for",
    "interleave",
    "measure_memory",
    "open_rival",
    "random_feeds",
    "step_times_us",
    "summarise",
    "take_turns",
]
