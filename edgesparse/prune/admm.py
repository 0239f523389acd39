"""Alternating directions: weights and mask are found together, where other methods choose the mask weight by weight.

Source: Boža 2024, "Fast and Effective Weight Update for Pruned Large Language Models", arXiv:2401.02938, with a penalty
that grows as in Meng et al. 2024, "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning", arXiv:2406.07831;
the method is that of Boyd et al. 2011, "Distributed Optimization and Statistical Learning via ADMM".
"""

from __future__ import annotations

import numpy as np

from edgesparse.prune.keep import Keep
from edgesparse.prune.moments import damped

STEPS = 60
PENALTY, GROWTH = 0.1, 1.1
"""The penalty for leaving the mask, as a share of what an input's own square costs; and its growth with each step."""


def admm(weight: np.ndarray, keep: Keep, second: np.ndarray) -> np.ndarray:
    """Minimise (v - weight) H (v - weight)^T over v that `keep` allows.

    v takes turns with its nearest neighbour d that `keep` allows, and u adds up how far they are apart:
    v = (weight H + p (d - u)) (H + p I)^-1, d = the largest of v + u, u += v - d. Inputs are scaled to unit squares
    before, so that what is largest is what costs most; of blocks those with the largest squares are nearest.

    Shapes: weight [M, K], second [G, K, K]; the result [M, K].
    """
    groups, k, _ = second.shape
    scale, values, vectors = _spectrum(damped(second))
    goal = weight.astype(np.float64).reshape(groups, -1, k) * scale[:, None]
    alive = weight != 0
    pull = (goal @ vectors) * values[:, None]  # weight H, along the eigenvectors
    near, apart, penalty = goal, np.zeros_like(goal), PENALTY
    for _ in range(STEPS):
        free = ((pull + penalty * ((near - apart) @ vectors)) / (values + penalty)[:, None]) @ vectors.swapaxes(1, 2)
        tried = free + apart
        scores = np.where(alive, np.square(tried).reshape(weight.shape), 0.0)
        mask = keep.pattern.mask(scores, keep.count, keep.window) & alive
        near = np.where(mask.reshape(tried.shape), tried, 0.0)
        apart = apart + free - near
        penalty *= GROWTH
    pruned: np.ndarray = (near / scale[:, None]).reshape(weight.shape).astype(weight.dtype)
    return pruned


def _spectrum(second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The roots of the diagonal of each H [G, K, K], and eigenvalues and vectors of H with these divided out."""
    scale = np.sqrt(np.diagonal(second, axis1=1, axis2=2))
    values, vectors = np.linalg.eigh(second / (scale[:, :, None] * scale[:, None, :]))
    return scale, values, vectors
