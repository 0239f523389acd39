"""Methods: which weights of a layer go, and what becomes of those that stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesparse.prune.admm import admm
from edgesparse.prune.keep import Keep
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.moments import Moments
from edgesparse.prune.reconstruct import reconstruct as reconstructed
from edgesparse.prune.sparsegpt import sparsegpt
from edgesparse.prune.wanda import wanda


@dataclass(frozen=True)
class Method:
    """`prune(w[M, K], keep, second[G, K, K])` gives the pruned matrix; zeros that are there stay zeros.

    `second` is the mean of x x^T over the inputs that calibration samples bring to each of the G groups of rows; only a
    `calibrated` method asks for it. One that `updates` changes the weights that stay: it starts from those that fit the
    layer's outputs best, and least squares choose the values that stay. `allocation` names the one that suits it.
    """

    prune: Callable[[np.ndarray, Keep, np.ndarray], np.ndarray]
    calibrated: bool = True
    updates: bool = False
    allocation: str = "lamp"


def by_magnitude(weight: np.ndarray, keep: Keep, _second: np.ndarray | None = None) -> np.ndarray:
    """Keep the largest elements of `weight` [M, K]."""
    return keep.largest(weight, magnitude(weight))


def prune_matrix(
    dense: np.ndarray, keep: Keep, method: Method, seen: Moments, *, reconstruct: bool
) -> tuple[np.ndarray, Moments]:
    """Prune a weight [M, K] by what is known of its inputs and outputs; returns the moments too that it fits."""
    updates = reconstruct or (method.updates and seen.cross is not None)
    sparse = method.prune(seen.goal(dense) if updates else dense, keep, seen.second)
    if updates:
        chosen = sparse
        sparse, seen = seen.fitted(lambda now: reconstructed(now.goal(dense), chosen, now.second))
    return sparse.astype(dense.dtype), seen


METHODS = {
    "magnitude": Method(by_magnitude, calibrated=False),
    "wanda": Method(wanda),
    "sparsegpt": Method(sparsegpt, updates=True),
    "admm": Method(admm, updates=True, allocation="uniform"),
}
