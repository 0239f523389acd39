"""Choose a level for every layer: the least loss within a time, by dynamic programming.

Source: Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees", arXiv:2201.13096, section 3.1.
"""

from __future__ import annotations

import numpy as np

BUCKETS = 10_000  # parts that the budget is cut into; times are rounded up to whole ones
ROUNDING = 1e-9


def choose(losses: np.ndarray, times: np.ndarray, budget: float) -> np.ndarray | None:
    """The level of each layer with the least sum of losses whose sum of times is within `budget`.

    Exact for times that are whole parts of the budget; others are rounded up, so the budget is never exceeded.

    Args:
        losses, times: [layers, levels]; times in any unit, as `budget`.

    Returns: indices of levels [layers], or None where even the fastest levels take longer than `budget`.
    """
    fastest = np.lexsort((losses, times), axis=1)[:, 0]
    rows = np.arange(len(times))
    least = times[rows, fastest].sum()
    if least > budget * (1 + ROUNDING):
        return None
    if least == 0:
        budget = max(budget, ROUNDING)
    parts = np.ceil(times * (BUCKETS / budget) - ROUNDING).astype(np.int64)
    if parts.min(axis=1, initial=BUCKETS + 1).sum() > BUCKETS:
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
