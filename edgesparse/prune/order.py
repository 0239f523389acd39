"""Search for an order of channels: which of them are neighbours, so that N:M keeps more of the weights.

Source: Pool and Yu 2021, "Channel Permutations for N:M Sparsity", NeurIPS 2021. Theirs swaps pairs of channels; here
every group gives up one channel at a time, and an assignment says which group best takes which.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

ROUNDS = 300
PATIENCE = 40
"""Rounds without a gain after which the search ends."""
WORK = 1 << 24
"""Elements that a round may look at; of wider layers it sees every few rows."""


def kept(scores: np.ndarray, n: int, m: int) -> float:
    """What stays of `scores` [channels, elements] when of every m neighbours along the channels the n largest stay."""
    groups = scores.reshape(-1, m, scores.shape[1])
    return float(np.partition(groups, m - n, axis=1)[:, m - n :].sum(dtype=np.float64))


def best_order(scores: np.ndarray, n: int, m: int, seed: int = 0) -> np.ndarray:
    """An order of channels under which more of `scores` [channels, elements] is kept, never less.

    With a_1 >= a_2 ... the elements that are left of a group, one that comes in with v makes it keep
    a_1 + ... + a_(n-1) + max(a_n, v): what a channel adds to a group is a sum of maxima, and the best exchange of one
    channel of each group a linear assignment. Which channel a group gives up is drawn at random.
    """
    count = len(scores) // m
    step = max(1, -(-count * count * scores.shape[1] // WORK))
    seen = np.ascontiguousarray(scores[:, ::step], np.float32)
    rng = np.random.default_rng(seed)
    groups = np.arange(len(scores)).reshape(count, m)
    best, since = kept(seen, n, m), 0
    for _ in range(ROUNDS):
        given = rng.integers(m, size=count)
        stays = np.ones(groups.shape, bool)
        stays[np.arange(count), given] = False
        offered = groups[~stays]
        rest = groups[stays].reshape(count, m - 1)
        _, taken = linear_sum_assignment(_gains(seen[rest], seen[offered], n), maximize=True)
        trial = np.concatenate([rest, offered[taken][:, None]], axis=1)
        now = kept(seen[trial.reshape(-1)], n, m)
        if now > best * (1.0 + 1e-9):
            groups, best, since = trial, now, 0
        else:
            since += 1
        if since >= PATIENCE:
            break
    order = np.sort(groups, axis=1)
    order = order[np.argsort(order[:, 0])].reshape(-1)
    return order if kept(scores[order], n, m) > kept(scores, n, m) else np.arange(len(scores))


def _gains(rest: np.ndarray, offered: np.ndarray, n: int) -> np.ndarray:
    """What group g keeps of its least place with channel c, [groups, channels].

    Shapes: rest [groups, m - 1, elements], offered [channels, elements].
    """
    at = rest.shape[1] - n
    least = np.partition(rest, at, axis=1)[:, at]
    return np.stack([np.maximum(of, offered).sum(axis=1) for of in least])
