"""Magnitude: the smallest weights go first.

Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", arXiv:1506.02626.
"""

from __future__ import annotations

import numpy as np


def magnitude(weight: np.ndarray) -> np.ndarray:
    """Score of each element of `weight` [M, K]: its absolute value."""
    narrow = weight.dtype not in (np.float32, np.float64)
    scores: np.ndarray = np.abs(weight.astype(np.float32) if narrow else weight)
    return scores
