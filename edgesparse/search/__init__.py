"""Choose densities by the target: the least loss within a latency."""

from edgesparse.search.latency import Found, parse_latency, within_latency
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
    "prepare",
    "searchable",
    "within_latency",
]
