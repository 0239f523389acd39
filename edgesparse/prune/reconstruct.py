"""Reconstruction: given which weights of a layer stay, the values that keep its outputs closest to the dense ones.

Source: He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks", arXiv:1707.06168, section 3.1,
where least squares make up for removed channels; here for any mask.
"""

from __future__ import annotations

import numpy as np

from edgesparse.prune.moments import damped

STEPS = 100
TOLERANCE = 1e-5
"""Of the largest gradient of a row, against that of a row of zeros, in the norm that the preconditioner gives."""


def reconstruct(dense: np.ndarray, pruned: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The v[M, K] with zeros where `pruned` has them that minimises (v - dense) H (v - dense)^T for every row.

    Conjugate gradients from `pruned`, for all rows at once and in the subspace of the mask; H is `second`, damped.

    Shapes: dense, pruned [M, K]; second [G, K, K]; the result [M, K].
    """
    hessian = damped(second)
    scale = 1.0 / np.diagonal(hessian, axis1=1, axis2=2)[:, None, :]
    goal = dense.astype(np.float64).reshape(len(second), -1, dense.shape[1])
    mask = (pruned != 0).reshape(goal.shape)
    at = pruned.astype(np.float64).reshape(goal.shape)
    whole = goal @ hessian
    enough = TOLERANCE**2 * np.sum(scale * whole**2, axis=-1)
    gradient = np.where(mask, whole - at @ hessian, 0.0)
    step = scaled = scale * gradient
    energy = np.sum(gradient * scaled, axis=-1)
    for _ in range(STEPS):
        if (energy <= enough).all():
            break
        image = np.where(mask, step @ hessian, 0.0)
        length = _ratio(energy, np.sum(step * image, axis=-1))
        at += length * step
        gradient -= length * image
        scaled = scale * gradient
        before, energy = energy, np.sum(gradient * scaled, axis=-1)
        step = scaled + _ratio(energy, before) * step
    return at.reshape(dense.shape).astype(dense.dtype)


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """over / under by row, 0 where a row has come to its end."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0.0)[..., None]
