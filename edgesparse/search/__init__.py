"""Choose densities by the target: least loss within a latency, or least latency within a loss of accuracy."""

from edgesparse.search.accuracy import Point, within_drop
from edgesparse.search.budget import parse_drop, parse_latency, parse_speedup
from edgesparse.search.evaluation import Judge, load_judge
from edgesparse.search.latency import Found, within_latency
from edgesparse.search.pareto import write_pareto
from edgesparse.search.problem import LEVELS, Problem, Setting, prepare, prunable_layers
from edgesparse.search.state import State
from edgesparse.search.timing import Measured

__all__ = [
    "LEVELS",
    "Found",
    "Judge",
    "Measured",
    "Point",
    "Problem",
    "Setting",
    "State",
    "load_judge",
    "parse_drop",
    "parse_latency",
    "parse_speedup",
    "prepare",
    "prunable_layers",
    "within_drop",
    "within_latency",
    "write_pareto",
]
