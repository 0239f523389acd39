"""Wanda: magnitude times how strong the input is, compared within each output.

Source: Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models", arXiv:2306.11695.
"""

from __future__ import annotations

import numpy as np

from edgesparse.prune.keep import Keep
from edgesparse.prune.magnitude import magnitude


def wanda(weight: np.ndarray, keep: Keep, second: np.ndarray) -> np.ndarray:
    """Keep the elements with the largest |w| * ||x||; every row keeps the same number, give or take one.

    Shapes: weight [M, K], second [G, K, K]; the result [M, K].
    """
    norms = np.sqrt(np.diagonal(second, axis1=1, axis2=2))
    scores = magnitude(weight) * norms.repeat(len(weight) // len(second), axis=0)
    return keep.largest(weight, scores, by_row=True)
