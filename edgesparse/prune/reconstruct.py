"""Reconstruction: given which weights of a layer stay, the values that keep its outputs closest to the dense ones.

Source: He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks", arXiv:1707.06168, section 3.1,
where least squares make up for removed channels; here for any mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from edgesparse.prune.moments import damped


def reconstruct(dense: np.ndarray, pruned: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The v[M, K] with zeros where `pruned` has them that minimises (v - dense) H (v - dense)^T for every row.

    H is `second`, damped. With k the columns that stay in a row, v_k H_kk = (dense H)_k: one Cholesky factorisation for
    all rows of a group of H that keep the same columns, as the rows of a block do.

    Shapes: dense, pruned [M, K]; second [G, K, K]; the result [M, K].
    """
    result = np.zeros(dense.shape)
    goal = dense.astype(np.float64)
    height = len(dense) // len(second)
    for at, hessian in enumerate(damped(second)):
        rows = slice(at * height, (at + 1) * height)
        wanted = goal[rows] @ hessian
        for alike, columns in _alike(pruned[rows] != 0):
            factor = cho_factor(hessian[np.ix_(columns, columns)], lower=True, overwrite_a=True, check_finite=False)
            values = cho_solve(factor, wanted[np.ix_(alike, columns)].T, check_finite=False)
            result[rows][np.ix_(alike, columns)] = values.T
    return result.astype(dense.dtype)


def _alike(mask: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of `mask` that are equal and hold something, together, and the columns that they hold."""
    packed = np.packbits(mask, axis=1)
    _, first, member = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    for at, row in enumerate(first):
        columns = np.flatnonzero(mask[row])
        if columns.size:
            yield np.flatnonzero(member.reshape(-1) == at), columns
