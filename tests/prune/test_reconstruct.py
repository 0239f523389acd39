"""Reconstruction against least squares solved for each row alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.prune.moments import damped, output_error
from edgesparse.prune.reconstruct import reconstruct
from tests.prune.test_sparsegpt import problem


@pytest.mark.parametrize(("m", "k", "groups"), [(1, 7, 1), (9, 33, 1), (8, 9, 4)])
@pytest.mark.parametrize("density", [0.1, 0.6])
def test_rows_are_least_squares_solutions(m, k, groups, density):
    weight, second = problem(m, k, groups)
    pruned = weight * (np.random.default_rng(2).random((m, k)) < density)

    result = reconstruct(weight, pruned, second)

    for row in range(m):
        root = np.linalg.cholesky(damped(second)[row * groups // m]).T
        kept = np.flatnonzero(pruned[row])
        expected = np.zeros(k)
        expected[kept] = np.linalg.lstsq(root[:, kept], root @ weight[row], rcond=None)[0]
        np.testing.assert_allclose(result[row], expected, rtol=1e-7, atol=1e-9)


def test_rows_that_keep_the_same_columns_are_solved_as_if_alone():
    weight, second = problem(8, 15)
    mask = (np.random.default_rng(1).random((2, 15)) < 0.5).repeat(4, axis=0)

    together = reconstruct(weight, weight * mask, second)

    alone = [reconstruct(weight[at : at + 1], (weight * mask)[at : at + 1], second) for at in range(8)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-9)


def test_nothing_changes_where_nothing_was_pruned():
    weight, second = problem(4, 9)

    np.testing.assert_allclose(reconstruct(weight, weight, second), weight, rtol=1e-9, atol=1e-12)


def test_a_layer_without_a_weight_stays_empty():
    weight, second = problem(4, 9)

    assert not reconstruct(weight, np.zeros_like(weight), second).any()


def test_output_error_is_that_of_the_outputs():
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((50, 6)), random.standard_normal((4, 6))
    pruned = weight * (random.random((4, 6)) < 0.5)

    error = output_error(weight, pruned, (x.T @ x / len(x))[None])

    assert error == pytest.approx(np.sum((x @ (pruned - weight).T) ** 2) / np.sum((x @ weight.T) ** 2))
    assert output_error(weight, weight * 0, np.zeros((1, 6, 6))) == 0.0
