"""The least loss within a latency, or at a speedup over the dense model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.errors import SearchError
from edgesparse.search.choose import choose
from edgesparse.search.coefficients import Profile
from edgesparse.search.problem import Problem

MEASUREMENTS = "measurements"
ROUNDS = 3  # corrections by measured latency
OVER, UNDER = 0.02, 0.06  # of the budget, that a measured latency may be off to be near enough
MOST_OVER = 0.1  # of the budget, that noise may hide


@dataclass(frozen=True)
class Found:
    """Densities by node, and what they cost; `loss` is the calibration loss of the stitched model.

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
    if budget_us >= table.dense_us:
        dense = np.zeros(len(problem.losses), np.int64)
        return Found(problem.densities(dense), 0.0, table.dense_us, setting.measure is not None)
    least_us = least(problem)
    if budget_us < least_us:
        raise _unreachable(problem, budget_us, least_us)
    aim_us = max(budget_us, table.least_us)
    if setting.measure is not None:
        aim_us = _corrected(problem, aim_us, budget_us, measured_us(problem, _chosen(problem, aim_us)))
    setting.progress(f"choosing densities for {budget_us / 1e3:.3g} ms")
    profile = problem.best_within(aim_us, setting.trials)
    assert profile is not None
    if setting.measure is None:
        latency_us = table.total_us(profile.levels)
        return Found(problem.densities(profile.levels), profile.loss, latency_us, measured=False)
    levels, latency_us = _settled(problem, profile, aim_us, budget_us)
    if latency_us > budget_us * (1 + MOST_OVER):
        raise _unreachable(problem, budget_us, latency_us)
    return Found(problem.densities(levels), problem.loss(levels), latency_us, measured=True)


def _settled(problem: Problem, profile: Profile, aim_us: float, budget_us: float) -> tuple[np.ndarray, float]:
    """Measure, and choose again for what the measurement says, until it is near the budget; the nearest of all."""
    tried: list[tuple[np.ndarray, float]] = []
    levels = profile.levels
    for _ in range(ROUNDS):
        latency_us = measured_us(problem, levels)
        tried.append((levels, latency_us))
        aim_us = _corrected(problem, aim_us, budget_us, latency_us)
        again = _chosen(problem, aim_us, profile.coefficients)
        if -UNDER <= latency_us / budget_us - 1 <= OVER or np.array_equal(again, levels):
            break
        levels = again
    return min(tried, key=lambda found: abs(found[1] - budget_us))


def _chosen(problem: Problem, aim_us: float, coefficients: np.ndarray | float = 1.0) -> np.ndarray:
    losses = problem.losses * np.reshape(coefficients, (-1, 1))
    levels = choose(losses, problem.table.us, aim_us - problem.table.rest_us)
    assert levels is not None  # no aim is below what the table can give
    return levels


def least(problem: Problem) -> float:
    """The least latency that densities can reach; measured where it is this machine's."""
    table = problem.table
    if problem.setting.measure is None:
        return table.least_us
    return measured_us(problem, table.us.argmin(axis=1))


def _unreachable(problem: Problem, budget_us: float, least_us: float) -> SearchError:
    setting, table = problem.setting, problem.table
    how = "measured" if setting.measure is not None else "predicted"
    return SearchError(
        f"latency {budget_us / 1e3:.4g} ms cannot be reached on {setting.target.name}: the least is "
        f"{least_us / 1e3:.4g} ms with every layer at its fastest density, the dense model takes "
        f"{table.dense_us / 1e3:.4g} ms ({how}); remedy: a larger budget, a pattern such as 4x1, or a smaller model"
    )


def _corrected(problem: Problem, aim_us: float, budget_us: float, latency_us: float) -> float:
    """What to ask the table for, when asking for `aim_us` gave `latency_us`; never less than it can give."""
    return max(aim_us * budget_us / latency_us, problem.table.least_us)


def measured_us(problem: Problem, levels: np.ndarray) -> float:
    """The latency of the model at these levels, compiled and run here; once for each profile."""
    setting, key = problem.setting, [int(level) for level in levels]
    for row in setting.state.rows(MEASUREMENTS):
        if row["levels"] == key:
            return float(row["us"])
    assert setting.measure is not None
    setting.progress("compiling and measuring a candidate")
    us = setting.measure(problem.pruned(levels)).us
    setting.state.append(MEASUREMENTS, {"levels": key, "us": us})
    return us
