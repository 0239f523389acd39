"""The fastest model whose score, by the user's own judge, drops by no more than a share of the dense model's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.errors import SearchError
from edgesparse.search.evaluation import Judge
from edgesparse.search.latency import Found, measured_us
from edgesparse.search.problem import Problem

SCORES = "scores"
CANDIDATES = 7  # models that are judged, besides the dense one
LEAST_TRIALS = 10
NEAR = 1.01  # latencies that need no further candidate between them


@dataclass(frozen=True)
class Point:
    """A candidate as it was judged; `latency_us` is predicted."""

    densities: dict[str, float]
    latency_us: float
    loss: float
    score: float
    holds: bool


def within_drop(problem: Problem, drop: float, judge: Judge) -> tuple[Found, tuple[Point, ...]]:
    """Bisect latencies, from the fastest densities to the dense model, for the fastest model that holds.

    Args:
        drop: largest loss of score, as a share of the dense model's.

    Returns: what was found, and every candidate, the dense model first.

    Raises: SearchError: the judge fails; scores that are known are kept.
    """
    table, setting = problem.table, problem.setting
    dense = np.zeros(len(problem.losses), np.int64)
    points = [_judged(problem, dense, judge, -math.inf)]
    floor = points[0].score - drop * abs(points[0].score)
    best, fastest_us, slowest_us = dense, table.least_us, table.dense_us
    trials = max(LEAST_TRIALS, setting.trials // CANDIDATES)
    for number in range(CANDIDATES):
        if slowest_us < fastest_us * NEAR:
            break
        budget_us = math.sqrt(fastest_us * slowest_us)
        setting.progress(f"candidate {number + 1} of {CANDIDATES}: {budget_us / 1e3:.3g} ms")
        profile = problem.best_within(budget_us, trials)
        assert profile is not None
        points.append(_judged(problem, profile.levels, judge, floor))
        if points[-1].holds:
            best, slowest_us = profile.levels, points[-1].latency_us
        else:
            fastest_us = budget_us
    measured = setting.measure is not None
    latency_us = measured_us(problem, best) if measured else table.total_us(best)
    return Found(problem.densities(best), problem.loss(best), latency_us, measured), tuple(points)


def _judged(problem: Problem, levels: np.ndarray, judge: Judge, floor: float) -> Point:
    score = _score(problem, levels, judge)
    latency_us = problem.table.total_us(levels)
    return Point(problem.densities(levels), latency_us, problem.loss(levels), score, score >= floor)


def _score(problem: Problem, levels: np.ndarray, judge: Judge) -> float:
    """The judge's number, asked once for each profile."""
    state, key = problem.setting.state, [int(level) for level in levels]
    for row in state.rows(SCORES):
        if row["judge"] == judge.name and row["levels"] == key:
            return float(row["score"])
    path = state.folder / "candidate.onnx"
    try:
        ir.save(problem.pruned(levels), path)
    except OSError as err:
        raise SearchError(f"{path}: cannot be written: {err.strerror or err}") from err
    score = judge.score(path)
    state.append(SCORES, {"judge": judge.name, "levels": key, "score": score})
    return score
