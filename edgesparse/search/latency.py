"""The least loss within a latency, such as "8ms"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from edgesparse.errors import SearchError
from edgesparse.search.choose import Choice, choose
from edgesparse.search.problem import Problem

UNITS_US = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
ROUNDS = 4  # choices that are measured
OVER, UNDER = 0.02, 0.06  # of the budget, that a measured latency may be off to be near enough
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


@dataclass(frozen=True)
class Found:
    """Densities by node, and what they cost; `loss` is that of the network put together from its pruned layers.

    `latency_us` is the best that is known of the latency: measured, where `measured` says so.
    """

    densities: dict[str, float]
    loss: float
    latency_us: float
    measured: bool


def within_latency(problem: Problem, budget_us: float) -> Found:
    """Choose densities for a latency; on this machine measure, and correct the predictions by what came out.

    Raises: SearchError: no densities are that fast.
    """
    table, setting = problem.table, problem.setting
    measured = setting.measure is not None
    if budget_us >= table.dense_us:
        dense = np.zeros(len(problem.losses), np.int64)
        return Found(problem.densities(dense), 0.0, table.dense_us, measured)
    least_us = problem.measured_us(table.us.argmin(axis=1)) if measured else table.least_us
    if budget_us < least_us:
        raise _unreachable(problem, budget_us, least_us)
    setting.progress(f"choosing densities for {budget_us / 1e3:.3g} ms")
    aim_us = max(budget_us, table.least_us)
    choice = problem.best_within(aim_us)
    assert choice is not None  # the table can give `aim_us`
    levels, latency_us = choice.levels, table.total_us(choice.levels)
    if measured:
        levels, latency_us = _settled(problem, choice, aim_us, budget_us)
        if latency_us > budget_us * (1 + MOST_OVER):
            raise _unreachable(problem, budget_us, latency_us)
    return Found(problem.densities(levels), problem.loss(levels), latency_us, measured)


def _settled(problem: Problem, choice: Choice, aim_us: float, budget_us: float) -> tuple[np.ndarray, float]:
    """Measure, and choose again for what the measurement says, until it is near the budget; the nearest of all."""
    table, levels = problem.table, choice.levels
    weighed = problem.losses * choice.coefficients[:, None]
    tried: list[tuple[np.ndarray, float]] = []
    for _ in range(ROUNDS):
        latency_us = problem.measured_us(levels)
        tried.append((levels, latency_us))
        if -UNDER <= latency_us / budget_us - 1 <= OVER:
            break
        aim_us = max(aim_us * budget_us / latency_us, table.least_us)
        again = choose(weighed, table.us, aim_us - table.rest_us)
        if again is None or np.array_equal(again, levels):
            break
        levels = again
    return min(tried, key=lambda found: abs(found[1] - budget_us))


def _unreachable(problem: Problem, budget_us: float, least_us: float) -> SearchError:
    setting, table = problem.setting, problem.table
    how = "measured" if setting.measure is not None else "predicted"
    return SearchError(
        f"latency {budget_us / 1e3:.4g} ms cannot be reached on {setting.target.name}: the least is "
        f"{least_us / 1e3:.4g} ms with every layer at its fastest density, the dense model takes "
        f"{table.dense_us / 1e3:.4g} ms ({how}); remedy: a larger budget, a pattern such as 4x1, or a smaller model"
    )
