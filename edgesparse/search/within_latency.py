"""The least loss within a latency, such as "8ms"."""

from __future__ import annotations

import math
import re

import numpy as np

from edgesparse.errors import SearchError
from edgesparse.search.problem import Found, Problem

UNITS_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
ROUNDS = 4  # in which measurements correct a choice
OVER, UNDER = 0.01, 0.03  # shares of the budget by which a measured latency may miss it and be near enough
MOST_OVER = 0.1  # of the budget, that noise may hide


def parse_latency(text: str) -> float:
    """Microseconds of a latency such as "8ms", "500us" or "0.01 s".

    Raises: SearchError: it is no positive number with a unit.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*([^\d\s.]*)\s*", text)
    try:
        time = float(found[1]) if found else math.nan
    except ValueError:
        time = math.nan
    if found is None or not 0 < time < math.inf:
        raise SearchError(f"latency: got {text!r}, expected a positive time such as 8ms or 500us")
    if found[2] not in UNITS_US:
        got = f"the unit {found[2]!r}" if found[2] else "no unit"
        raise SearchError(f"latency: got {text!r} with {got}, expected us, ms or s")
    return time * UNITS_US[found[2]]


def within_latency(problem: Problem, budget_us: float) -> Found:
    """Choose densities for a latency.

    Raises: SearchError: no densities are that fast.
    """
    dense_us = problem.latency_us(problem.dense)
    if budget_us >= dense_us:
        return problem.found(problem.dense)
    least_us = problem.latency_us(problem.predicted.us.argmin(axis=1))
    if budget_us < least_us:
        raise _unreachable(problem, budget_us, least_us)
    problem.setting.progress(f"choosing densities for {budget_us / 1e3:.3g} ms")
    if problem.setting.measure is None:
        return problem.found(problem.best_within(budget_us).levels)
    found = problem.found(_settled(problem, budget_us))
    if found.latency_us > budget_us * (1 + MOST_OVER):
        raise _unreachable(problem, budget_us, found.latency_us)
    return found


def _settled(problem: Problem, budget_us: float) -> np.ndarray:
    """Choose and measure in turns, until a choice takes the time it may; returns the one of least loss that does.

    Each measurement corrects the times that the next choice goes by; the first, before losses are weighed, where the
    search will look.
    """
    problem.latency_us(problem.within(budget_us))
    choice = problem.best_within(budget_us)
    tried = [choice.levels]
    for _ in range(ROUNDS):
        if -UNDER <= problem.latency_us(tried[-1]) / budget_us - 1 <= OVER:
            break
        levels = problem.within(budget_us, choice.coefficients)
        if any(np.array_equal(levels, earlier) for earlier in tried):
            break
        tried.append(levels)

    def excess_and_loss(levels: np.ndarray) -> tuple[float, float]:
        return max(0.0, problem.latency_us(levels) / budget_us - 1 - OVER), problem.loss(levels)

    return min(tried, key=excess_and_loss)


def _unreachable(problem: Problem, budget_us: float, least_us: float) -> SearchError:
    setting = problem.setting
    how = "measured" if setting.measure is not None else "predicted"
    return SearchError(
        f"latency {budget_us / 1e3:.4g} ms cannot be reached on {setting.target.name}: the least is "
        f"{least_us / 1e3:.4g} ms with every layer at its fastest density, the dense model takes "
        f"{problem.latency_us(problem.dense) / 1e3:.4g} ms ({how}); "
        "remedy: a larger budget, a pattern such as 4x1, or a smaller model"
    )
