"""Choose which units of a layer stay: exact counts, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def keep_largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Mask of the `count` largest entries of `scores`; among equal ones those with the lowest index stay."""
    flat = scores.reshape(-1)
    if count >= flat.size:
        return np.ones(scores.shape, bool)
    if count <= 0:
        return np.zeros(scores.shape, bool)
    threshold = np.partition(flat, flat.size - count)[flat.size - count]
    mask: np.ndarray = flat > threshold
    missing = count - int(np.count_nonzero(mask))
    mask[np.flatnonzero(flat == threshold)[:missing]] = True
    return mask.reshape(scores.shape)


def apportion(quotas: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """Round `quotas` to counts that sum to `total`, each at most its size: largest remainders first, then index."""
    counts = [min(int(quota), size) for quota, size in zip(quotas, sizes, strict=True)]
    order = sorted(range(len(quotas)), key=lambda at: (counts[at] - quotas[at], at))
    missing = total - sum(counts)
    while missing > 0:
        open_layers = [at for at in order if counts[at] < sizes[at]][:missing]
        if not open_layers:
            break
        for at in open_layers:
            counts[at] += 1
        missing -= len(open_layers)
    return counts
