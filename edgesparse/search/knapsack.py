"""Choose a level of density for every layer: the least loss within a time.

Losses of single layers do not add up in a network. Weighing them makes the dynamic program propose other choices
within the same time, and the loss of the whole network says which is best.

Source: Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees", arXiv:2201.13096: section 3.1 for
the dynamic program, 3.2 for the search of coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BUCKETS = 10_000  # parts that the budget is cut into; times are rounded up to whole ones
ROUNDING = 1e-9
RANDOM_SHARE = 0.3  # of the trials that draw all coefficients anew
NEIGHBOURHOOD = 0.3  # of the coefficients that the first local step draws anew; the last draws one
DRAWS = 5  # draws for each trial, at most: many coefficients lead to a choice that is known


def choose(losses: np.ndarray, times: np.ndarray, budget: float) -> np.ndarray | None:
    """The level of each layer with the least sum of losses whose sum of times is within `budget`.

    Exact for times that are whole parts of the budget; others are rounded up, so that it is never exceeded.

    Args:
        losses, times: [layers, levels]; times in any unit, as `budget`.

    Returns: indices of levels [layers], or None where even the fastest levels take longer than `budget`.
    """
    fastest = np.lexsort((losses, times), axis=1)[:, 0]
    rows = np.arange(len(times))
    least = times[rows, fastest].sum()
    if least > budget * (1 + ROUNDING):
        return None
    parts = np.ceil(times * (BUCKETS / max(budget, ROUNDING)) - ROUNDING).astype(np.int64)
    if parts[rows, fastest].sum() > BUCKETS:
        return fastest  # only rounding keeps the fastest levels out
    reachable = np.zeros(BUCKETS + 1)  # least loss of the layers so far, within that many parts
    taken = np.zeros((len(times), BUCKETS + 1), np.int64)
    for layer in rows:
        reached = np.full((times.shape[1], BUCKETS + 1), np.inf)
        for level, count in enumerate(parts[layer]):
            if count <= BUCKETS:
                reached[level, count:] = reachable[: BUCKETS + 1 - count] + losses[layer, level]
        taken[layer] = reached.argmin(axis=0)
        reachable = reached.min(axis=0)
    return _trace(taken, parts)


def _trace(taken: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Follow the levels that were taken back from the whole budget."""
    levels, left = np.zeros(len(taken), np.int64), BUCKETS
    for layer in reversed(range(len(taken))):
        levels[layer] = taken[layer, left]
        left -= parts[layer, levels[layer]]
    return levels


@dataclass(frozen=True)
class Choice:
    """A level for each layer, the coefficients that led to it, and the loss of the whole network."""

    levels: np.ndarray
    coefficients: np.ndarray
    loss: float


def search_coefficients(
    losses: np.ndarray,
    times: np.ndarray,
    budget: float,
    loss_of: Callable[[np.ndarray], float],
    *,
    trials: int,
    seed: int = 0,
) -> Choice | None:
    """The best of `trials` choices that differ; the first weighs all layers alike.

    Random coefficients come first, then a local search in a neighbourhood that shrinks.

    Args:
        losses, times, budget: as for `choose`.
        loss_of: the loss of the network whose layers have these levels; asked once for each choice.

    Returns: None where the budget cannot be met.
    """
    rng = np.random.default_rng(seed)
    count = len(losses)
    first = choose(losses, times, budget)
    if first is None:
        return None
    best = Choice(first, np.ones(count), loss_of(first))
    seen = {first.tobytes()}
    for draw in range(trials * DRAWS):
        done = len(seen) / trials
        if done >= 1:
            break
        coefficients = _drawn(best.coefficients, max(done, draw / (trials * DRAWS)), rng)
        levels = choose(losses * coefficients[:, None], times, budget)
        if levels is None or levels.tobytes() in seen:
            continue
        seen.add(levels.tobytes())
        loss = loss_of(levels)
        if loss < best.loss:
            best = Choice(levels, coefficients, loss)
    return best


def _drawn(center: np.ndarray, done: float, rng: np.random.Generator) -> np.ndarray:
    """New coefficients in (0, 1]: all of them at first, then fewer and fewer."""
    fresh: np.ndarray = 1.0 - rng.random(len(center))
    if done < RANDOM_SHARE:
        return fresh
    left = (1 - done) / (1 - RANDOM_SHARE)
    changed = rng.permutation(len(center))[: max(1, round(NEIGHBOURHOOD * len(center) * left))]
    near = center.copy()
    near[changed] = fresh[changed]
    return near
