"""Search how much each layer's loss counts, judged by the loss of the whole network.

Losses of single layers do not add up. Weighing them makes the dynamic program propose other profiles within the same
time; the network stitched from the database of pruned layers says which is best.

Source: Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees", arXiv:2201.13096, section 3.2:
random coefficients, then a local search in a neighbourhood that shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesparse.search.choose import choose

RANDOM_SHARE = 0.3  # of the trials that draw all coefficients anew
NEIGHBOURHOOD = 0.3  # of the coefficients that the first local step draws anew; the last draws one
DRAWS = 5  # draws for each trial, at most: many coefficients lead to a profile that is known


@dataclass(frozen=True)
class Profile:
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
) -> Profile | None:
    """The best profile of `trials` that differ; the first weighs all layers alike.

    Args:
        losses, times, budget: as for `choose`.
        loss_of: the loss of the network whose layers have these levels; asked once for each profile.

    Returns: None where the budget cannot be met.
    """
    rng = np.random.default_rng(seed)
    count = len(losses)
    first = choose(losses, times, budget)
    if first is None:
        return None
    best = Profile(first, np.ones(count), loss_of(first))
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
            best = Profile(levels, coefficients, loss)
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
