"""Choose densities by the target: the least loss within a latency, or the least latency within a loss of accuracy."""

from edgesparse.search.accuracy import Candidate, Judge, load_judge, parse_drop, within_drop
from edgesparse.search.pareto import write_pareto
from edgesparse.search.problem import LEVELS, Found, Problem, Setting, prepare, searchable
from edgesparse.search.state import State
from edgesparse.search.timing import Measured
from edgesparse.search.within_latency import parse_latency, within_latency

__all__ = [
    "LEVELS",
    "Candidate",
    "Found",
    "Judge",
    "Measured",
    "Problem",
    "Setting",
    "State",
    "load_judge",
    "parse_drop",
    "parse_latency",
    "prepare",
    "searchable",
    "within_drop",
    "within_latency",
    "write_pareto",
]
