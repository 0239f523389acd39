"""Latency, memory and agreement with other runtimes."""

from edgesparse.measure.bench import BenchReport, Contender, StepTime, bench
from edgesparse.measure.builds import Build, BuildsReport, compare_builds
from edgesparse.measure.compare import Difference, compare, compare_all
from edgesparse.measure.feeds import Arrays, Given, feeds_for, random_feeds
from edgesparse.measure.figure import Figure, Origin
from edgesparse.measure.latency import Latency, summarise, take_turns
from edgesparse.measure.memory import Memory
from edgesparse.measure.rivals import RIVALS, open_rival
from edgesparse.measure.steps import step_times_us, times_of_steps_us

__all__ = [
    "RIVALS",
    "Arrays",
    "BenchReport",
    "Build",
    "BuildsReport",
    "Contender",
    "Difference",
    "Figure",
    "Given",
    "Latency",
    "Memory",
    "Origin",
    "StepTime",
    "bench",
    "compare",
    "compare_all",
    "compare_builds",
    "feeds_for",
    "open_rival",
    "random_feeds",
    "step_times_us",
    "summarise",
    "take_turns",
    "times_of_steps_us",
]
