"""SparseGPT: the weights that stay make up for those that go, column by column.

Source: Frantar and Alistarh 2023, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
arXiv:2301.00774; the update is that of Hassibi and Stork 1993, "Optimal Brain Surgeon".
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.linalg import lapack

from edgesparse.prune.keep import Keep
from edgesparse.prune.moments import damped
from edgesparse.sparsity.ranking import apportion

BLOCK_COLUMNS = 128
"""Columns whose mask is chosen at once, from the weights as earlier columns left them."""


def sparsegpt(weight: np.ndarray, keep: Keep, second: np.ndarray) -> np.ndarray:
    """Prune with the optimal update of the columns behind the one that is pruned.

    The error of removing w_j costs w_j^2 / U_jj^2 at best, U being the upper Cholesky factor of the inverse of
    `second`: its row j is what the columns behind j gain from it.

    Shapes: weight [M, K], second [G, K, K]; the result [M, K].
    """
    groups, k, _ = second.shape
    left = weight.astype(np.float64).reshape(groups, -1, k)
    factor = inverse_factor(damped(second))
    pivots = np.diagonal(factor, axis1=1, axis2=2)[:, None, :]
    alive = (weight != 0).reshape(left.shape)
    edges = _edges(keep, k)
    for (start, end), count in zip(pairwise(edges), _counts(keep, weight != 0, edges), strict=True):
        scores = np.where(alive[..., start:end], (left[..., start:end] / pivots[..., start:end]) ** 2, 0.0)
        mask = keep.pattern.mask(scores.reshape(-1, end - start), count, keep.window).reshape(scores.shape)
        stays = mask & alive[..., start:end]
        errors = np.empty_like(scores)
        for j in range(start, end):
            error = np.where(stays[..., j - start], 0.0, left[..., j]) / pivots[..., j]
            left[..., j:end] -= error[..., None] * factor[:, None, j, j:end]
            errors[..., j - start] = error
        left[..., end:] -= errors @ factor[:, start:end, end:]
        left[..., start:end][~stays] = 0.0
    return left.reshape(weight.shape).astype(weight.dtype)


def inverse_factor(matrices: np.ndarray) -> np.ndarray:
    """Upper U of each positive definite matrix H [G, K, K] with U^T U = H^-1, by one factorisation and one inversion.

    With H in reverse order of rows and columns, its lower Cholesky factor in reverse order, R, is upper and H = R R^T;
    then U = R^-1.
    """
    factors = np.empty_like(matrices)
    for matrix, factor in zip(matrices, factors, strict=True):
        upper = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
        factor[...] = np.triu(lapack.dtrtri(upper, lower=0)[0])
    return factors


def _edges(keep: Keep, k: int) -> list[int]:
    """Where blocks of columns begin and end: no unit of the pattern lies across, and each group of N:M is alone."""
    span = keep.pattern.span(keep.window)
    step = span if keep.pattern.density is not None else -(-BLOCK_COLUMNS // span) * span
    return [*range(0, k, step), k]


def _counts(keep: Keep, alive: np.ndarray, edges: list[int]) -> list[int]:
    """Units to keep in each block of columns: the same share, where so many are nonzero."""
    units = keep.pattern.reduce(alive, keep.window) > 0
    width = alive.shape[1] // units.shape[1]
    starts = [edge // width for edge in edges]
    shares = [keep.count * (end - start) / units.shape[1] for start, end in pairwise(starts)]
    return apportion(shares, np.add.reduceat(units.sum(axis=0), starts[:-1]).tolist(), keep.count)
