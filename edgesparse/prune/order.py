"""Search for an order of channels: which of them are neighbours, so that N:M or blocks keep more of the weights.

Source: Pool and Yu 2021, "Channel Permutations for N:M Sparsity", NeurIPS 2021. Theirs swaps pairs of channels; here
every group gives up one channel at a time, and an assignment says which group best takes which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

ROUNDS = 300
PATIENCE = 40
"""Rounds without a gain after which the search ends."""
WORK = 1 << 24
"""Elements that a round may look at; of wider layers it sees every few rows."""
SHARE = 0.2
"""Share of the blocks that orders are compared by; what suits one share suits others nearly as well."""


class Neighbours(Protocol):
    """What stays of groups of `m` neighbouring channels. `told` is that in words."""

    told: str

    @property
    def m(self) -> int:
        """Channels of a group."""

    def kept(self, scores: np.ndarray) -> float:
        """What stays of `scores` [channels, elements]."""

    def gains(self, rest: np.ndarray, offered: np.ndarray) -> np.ndarray:
        """What group g gains by channel c, but for what is the same whichever it takes, [groups, channels].

        Shapes: rest [groups, m - 1, elements], offered [channels, elements].
        """


@dataclass(frozen=True)
class Strongest:
    """The `n` largest stay of every `m`, for each element.

    With a_1 >= a_2 ... the elements that are left of a group, one that comes in with v makes it keep
    a_1 + ... + a_(n-1) + max(a_n, v): what a channel adds to a group is a sum of maxima.
    """

    n: int
    m: int
    told = "more magnitude"

    def kept(self, scores: np.ndarray) -> float:
        """See `Neighbours`."""
        groups = scores.reshape(-1, self.m, scores.shape[1])
        return float(np.partition(groups, self.m - self.n, axis=1)[:, self.m - self.n :].sum(dtype=np.float64))

    def gains(self, rest: np.ndarray, offered: np.ndarray) -> np.ndarray:
        """See `Neighbours`."""
        at = rest.shape[1] - self.n
        least = np.partition(rest, at, axis=1)[:, at]
        return np.stack([np.maximum(of, offered).sum(axis=1) for of in least])


@dataclass(frozen=True)
class Together:
    """All `m` stay or go, for each element; the largest sums stay, here a SHARE of them.

    Sums of unlike sizes let more stay. They are so where their squares add up to more: with a the sum of what is left
    of a group, v adds 2 a v to that.
    """

    m: int
    told = f"more magnitude in the largest {SHARE:.0%} of its blocks"

    def kept(self, scores: np.ndarray) -> float:
        """See `Neighbours`."""
        sums = scores.reshape(-1, self.m, scores.shape[1]).sum(axis=1).reshape(-1)
        goes = sums.size - max(1, round(SHARE * sums.size))
        return float(np.partition(sums, goes)[goes:].sum(dtype=np.float64))

    def gains(self, rest: np.ndarray, offered: np.ndarray) -> np.ndarray:
        """See `Neighbours`."""
        products: np.ndarray = rest.sum(axis=1) @ offered.T
        return products


def best_order(scores: np.ndarray, neighbours: Neighbours, seed: int = 0) -> np.ndarray:
    """An order of channels under which more of `scores` [channels, elements] is kept, never less.

    The best exchange of one channel of each group is a linear assignment. Which channel a group gives up is drawn at
    random.
    """
    m = neighbours.m
    count = len(scores) // m
    step = max(1, -(-count * count * scores.shape[1] // WORK))
    seen = np.ascontiguousarray(scores[:, ::step], np.float32)
    rng = np.random.default_rng(seed)
    groups = np.arange(len(scores)).reshape(count, m)
    best, since = neighbours.kept(seen), 0
    for _ in range(ROUNDS):
        given = rng.integers(m, size=count)
        stays = np.ones(groups.shape, bool)
        stays[np.arange(count), given] = False
        offered = groups[~stays]
        rest = groups[stays].reshape(count, m - 1)
        _, taken = linear_sum_assignment(neighbours.gains(seen[rest], seen[offered]), maximize=True)
        trial = np.concatenate([rest, offered[taken][:, None]], axis=1)
        now = neighbours.kept(seen[trial.reshape(-1)])
        if now > best * (1.0 + 1e-9):
            groups, best, since = trial, now, 0
        else:
            since += 1
        if since >= PATIENCE:
            break
    order = np.sort(groups, axis=1)
    order = order[np.argsort(order[:, 0])].reshape(-1)
    return order if neighbours.kept(scores[order]) > neighbours.kept(scores) else np.arange(len(scores))
