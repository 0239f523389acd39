"""The fastest model whose score, by the user's own judge, drops by no more than a share of the dense model's."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgesparse.errors import SearchError, in_words
from edgesparse.imports import function, importable
from edgesparse.search.problem import Found, Problem

SCORES = "scores"
CANDIDATES = 7  # models that are judged, besides the dense one
NEAR = 1.01  # latencies that need no further candidate between them
KEPT = "what is known is kept; remedy: mend it and go on with --resume"


@dataclass(frozen=True)
class Candidate:
    """A model as it was judged; `latency_us` is measured where the search measures, else predicted."""

    densities: dict[str, float]
    latency_us: float
    loss: float
    score: float
    holds: bool


@dataclass(frozen=True)
class Judge:
    """The user's function called `name`: it takes the path of an ONNX model and returns a number, higher is better."""

    name: str  # package.module:function
    function: Callable[[str], object]
    folder: Path = field(default_factory=Path.cwd)  # whose modules it may import

    def score(self, model: Path) -> float:
        """What the function says of a model.

        Raises: SearchError: it raises, or returns something else than a finite number.
        """
        try:
            with importable(self.folder):
                score = self.function(str(model))
        except Exception as err:  # the user's code runs here
            raise SearchError(f"eval {self.name}: raised on {model}: {in_words(err)}; {KEPT}") from err
        if isinstance(score, bool) or not isinstance(score, numbers.Real) or not math.isfinite(score):
            raise SearchError(f"eval {self.name}: returned {score!r} on {model}, expected a finite number; {KEPT}")
        return float(score)


def load_judge(name: str) -> Judge:
    """The function called "package.module:function"; modules are looked for in the working directory too.

    Raises: SearchError: there is no such function, or importing its module fails.
    """
    with importable(Path.cwd()):
        return Judge(name, function(name, SearchError, "eval"))


def parse_drop(text: str | float) -> float:
    """A share of the dense model's score, in [0, 1): "1%" or 0.01.

    Raises: SearchError: it is something else.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?\s*(%?)\s*", str(text))
    share = float(str(text).replace("%", "")) / (100 if found[3] else 1) if found else math.nan
    if not 0 <= share < 1:
        raise SearchError(f"max_accuracy_drop: got {text!r}, expected a share below 1 such as 1% or 0.01")
    return share


def within_drop(problem: Problem, drop: float, judge: Judge) -> tuple[Found, tuple[Candidate, ...]]:
    """Bisect latencies, between the fastest densities and the dense model, for the fastest model that holds.

    Args:
        drop: largest loss of score, as a share of the dense model's.

    Returns: what was found, and every candidate in the order of judging, the dense model first.

    Raises: SearchError: the judge fails; scores that are known are kept.
    """
    progress, dense_us, best = problem.setting.progress, problem.latency_us(problem.dense), problem.dense
    progress("scoring the dense model")
    judged = [_judged(problem, best, judge, -math.inf)]
    floor = judged[0].score - drop * abs(judged[0].score)
    fastest_us, slowest_us = problem.table.least_us, dense_us
    for number in range(CANDIDATES):
        if slowest_us < fastest_us * NEAR:
            break
        budget_us = math.sqrt(fastest_us * slowest_us)
        progress(f"candidate {number + 1} of {CANDIDATES}: {dense_us / budget_us:.2f} times as fast as dense")
        levels = problem.best_within(budget_us).levels
        judged.append(_judged(problem, levels, judge, floor))
        if judged[-1].holds:
            best, slowest_us = min(best, levels, key=problem.latency_us), budget_us
        else:
            fastest_us = budget_us
    return problem.found(best), tuple(judged)


def _judged(problem: Problem, levels: np.ndarray, judge: Judge, floor: float) -> Candidate:
    score = _score(problem, levels, judge)
    return Candidate(problem.densities(levels), problem.latency_us(levels), problem.loss(levels), score, score >= floor)


def _score(problem: Problem, levels: np.ndarray, judge: Judge) -> float:
    """The judge's number, asked once for each choice."""
    state = problem.setting.state
    path = state.folder / "candidate.onnx"

    def score() -> float:
        try:
            ir.save(problem.pruned(levels), path)
        except OSError as err:
            raise SearchError(f"{path}: cannot be written: {err.strerror or err}") from err
        return judge.score(path)

    return float(state.once(SCORES, [judge.name, levels.tolist()], score))
