"""Choose densities by the target: the least loss within a latency."""

from edgesparse.search.budget import parse_latency, parse_speedup
from edgesparse.search.latency import Found, within_latency
from edgesparse.search.problem import LEVELS, Problem, Setting, prepare, searchable
from edgesparse.search.state import State
from edgesparse.search.timing import LatencyTable, Measured

__all__ = [
    "LEVELS",
    "Found",
    "LatencyTable",
    "Measured",
    "Problem",
    "Setting",
    "State",
    "parse_latency",
    "parse_speedup",
    "prepare",
    "searchable",
    "within_latency",
]
