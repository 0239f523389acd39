"""The choice of levels against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgesparse.search.knapsack import BUCKETS, choose, search_coefficients

LAYERS, LEVELS = 5, 4


def problem(seed: int, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    losses = np.sort(rng.random((LAYERS, LEVELS)), axis=1)
    times = rng.integers(1, 9, (LAYERS, LEVELS)) if whole else rng.uniform(0.5, 9, (LAYERS, LEVELS))
    return losses, times.astype(float)


def total(table: np.ndarray, levels) -> float:
    return float(sum(table[layer, level] for layer, level in enumerate(levels)))


def least_loss(losses: np.ndarray, times: np.ndarray, budget: float) -> float:
    every = product(range(LEVELS), repeat=LAYERS)
    return min((total(losses, levels) for levels in every if total(times, levels) <= budget), default=np.inf)


@pytest.mark.parametrize("seed", range(12))
def test_no_choice_within_the_budget_loses_less(seed):
    losses, times = problem(seed, whole=True)

    for budget in (10.0, 16.0, 20.0, 25.0, 50.0):
        levels = choose(losses, times, budget)
        best = least_loss(losses, times, budget)
        if levels is None:
            assert best == np.inf
        else:
            assert total(times, levels) <= budget
            assert total(losses, levels) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
def test_times_that_are_rounded_up_cost_no_more_than_a_part_of_the_budget_each(seed):
    losses, times = problem(seed, whole=False)
    budget = float(times.mean() * LAYERS)

    levels = choose(losses, times, budget)

    assert levels is not None
    assert total(times, levels) <= budget
    assert total(losses, levels) <= least_loss(losses, times, budget * (1 - LAYERS / BUCKETS)) + 1e-12


def test_the_fastest_levels_are_taken_where_only_rounding_keeps_them_out():
    losses, times = problem(0, whole=False)

    levels = choose(losses, times, float(times.min(axis=1).sum()))

    assert list(levels) == list(times.argmin(axis=1))


def test_a_budget_below_the_fastest_levels_cannot_be_met():
    losses, times = problem(0, whole=False)
    budget = 0.999 * float(times.min(axis=1).sum())

    assert choose(losses, times, budget) is None
    assert search_coefficients(losses, times, budget, lambda levels: 0.0, trials=3) is None


def test_layers_that_take_no_time_stay_dense():
    losses, times = problem(0, whole=True)

    assert list(choose(losses, np.zeros_like(times), 0.0)) == [0] * LAYERS


@pytest.mark.parametrize("seed", range(4))
def test_coefficients_find_the_best_choice_of_a_network_whose_layers_count_differently(seed):
    losses, times = problem(seed, whole=True)
    counts = np.random.default_rng(100 + seed).uniform(0.05, 1.0, (LAYERS, 1))
    budget = 20.0

    def network(levels: np.ndarray) -> float:
        return total(losses * counts, levels)

    found = search_coefficients(losses, times, budget, network, trials=60)

    assert total(times, found.levels) <= budget
    assert found.loss == network(found.levels) <= network(choose(losses, times, budget))
    assert found.loss == pytest.approx(least_loss(losses * counts, times, budget), rel=0.05)


def test_no_choice_is_judged_twice_and_none_beyond_the_trials():
    losses, times = problem(1, whole=True)
    asked: list[bytes] = []

    search_coefficients(losses, times, 20.0, lambda levels: asked.append(levels.tobytes()) or 1.0, trials=8)

    assert len(asked) == len(set(asked)) <= 8
