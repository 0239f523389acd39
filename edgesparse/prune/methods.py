"""Methods: which weights of a layer go, and what becomes of those that stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesparse.prune.keep import Keep
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.moments import output_error
from edgesparse.prune.reconstruct import reconstruct as reconstructed
from edgesparse.prune.sparsegpt import sparsegpt
from edgesparse.prune.wanda import wanda


@dataclass(frozen=True)
class Method:
    """`prune(w[M, K], keep, second[G, K, K])` gives the pruned matrix; zeros that are there stay zeros.

    `second` is the mean of x x^T over the inputs that calibration samples bring to each of the G groups of rows; only a
    `calibrated` method asks for it.
    """

    prune: Callable[[np.ndarray, Keep, np.ndarray], np.ndarray]
    calibrated: bool = True


def by_magnitude(weight: np.ndarray, keep: Keep, _second: np.ndarray | None = None) -> np.ndarray:
    """Keep the largest elements of `weight` [M, K]."""
    return keep.largest(weight, magnitude(weight))


def prune_matrix(
    dense: np.ndarray, keep: Keep, method: Method, second: np.ndarray, *, reconstruct: bool
) -> tuple[np.ndarray, float]:
    """Prune a weight [M, K] by what is known of its inputs, and say how far its outputs move; see Method."""
    sparse = method.prune(dense, keep, second)
    if reconstruct:
        sparse = reconstructed(dense, sparse, second)
    return sparse, output_error(dense, sparse, second)


METHODS = {
    "magnitude": Method(by_magnitude, calibrated=False),
    "wanda": Method(wanda),
    "sparsegpt": Method(sparsegpt),
}
