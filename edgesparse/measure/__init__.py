"""Latency, memory and agreement with other runtimes."""

from edgesparse.measure.artifact import open_artifact
from edgesparse.measure.bench import BenchReport, Contender, StepTime, bench
from edgesparse.measure.compare import Difference, compare, compare_all
from edgesparse.measure.feeds import Arrays, Given, feeds_for, random_feeds
from edgesparse.measure.figure import Figure, Origin
from edgesparse.measure.latency import Elapsed, Latency, Schedule, interleave, summarise
from edgesparse.measure.memory import Memory, measure_memory
from edgesparse.measure.rivals import RIVALS, open_rival
from edgesparse.measure.steps import step_times_us

__all__ = [
    "RIVALS",
    "Arrays",
    "BenchReport",
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
    "bench",
    "compare",
    "compare_all",
    "feeds_for",
    "interleave",
    "measure_memory",
    "open_artifact",
    "open_rival",
    "random_feeds",
    "step_times_us",
    "summarise",
]
