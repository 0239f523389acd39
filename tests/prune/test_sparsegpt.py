"""SparseGPT against optimal brain surgery spelled out: explicit inverses, one weight of one row at a time."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.prune.keep import Keep
from edgesparse.prune.sparsegpt import inverse_factor, sparsegpt
from edgesparse.sparsity.patterns import Block, NofM

DAMPING = 0.01


def problem(m, k, groups=1, seed=0):
    """Weights and second moments of correlated inputs."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((groups, 3 * k, k)) @ random.standard_normal((groups, k, k))
    return random.standard_normal((m, k)), np.stack([of.T @ of / len(of) for of in x])


def surgery(weight, hessian, choose, step):
    """Remove what `choose(costs, weights)` does not keep of every `step` columns; later columns make up for it."""
    left = weight.copy()
    m, k = left.shape
    kept = np.zeros((m, k), bool)
    hessian = hessian + DAMPING * np.trace(hessian) / k * np.eye(k)
    inverses = [np.linalg.inv(hessian[j:, j:]) for j in range(k)]
    for start in range(0, k, step):
        end = min(start + step, k)
        costs = np.stack([left[:, j] ** 2 / inverses[j][0, 0] for j in range(start, end)], axis=1)
        kept[:, start:end] = choose(costs)
        for j in range(start, end):
            for row in np.flatnonzero(~kept[:, j]):
                left[row, j:] -= left[row, j] / inverses[j][0, 0] * inverses[j][0]
    return np.where(kept, left, 0.0)


def largest(count):
    def choose(costs):
        mask = np.zeros(costs.size, bool)
        mask[np.argsort(-costs, axis=None)[:count]] = True
        return mask.reshape(costs.shape)

    return choose


@pytest.mark.parametrize(("m", "k"), [(1, 7), (8, 9), (33, 16)])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 1.0])
def test_unstructured_is_optimal_brain_surgery_column_by_column(m, k, density):
    weight, second = problem(m, k)
    count = round(density * weight.size)

    result = sparsegpt(weight, Keep(count, Block()), second)

    np.testing.assert_allclose(result, surgery(weight, second[0], largest(count), k), rtol=1e-7, atol=1e-9)


def test_masks_of_wide_layers_are_chosen_128_columns_at_a_time():
    weight, second = problem(3, 256)

    result = sparsegpt(weight, Keep(384, Block()), second)

    np.testing.assert_allclose(result, surgery(weight, second[0], largest(192), 128), rtol=1e-6, atol=1e-8)


def test_two_of_four_chooses_each_group_from_what_earlier_ones_left():
    weight, second = problem(9, 24)

    def two_of_four(costs):
        return costs >= np.sort(costs, axis=1)[:, -2:-1]

    result = sparsegpt(weight, Keep(0, NofM(2, 4)), second)

    np.testing.assert_allclose(result, surgery(weight, second[0], two_of_four, 4), rtol=1e-7, atol=1e-9)


def test_groups_of_a_convolution_run_along_its_channels():
    weight, second = problem(5, 8 * 9)

    result = sparsegpt(weight, Keep(0, NofM(2, 4), window=9), second)

    assert (np.count_nonzero(result.reshape(5, 2, 4, 9), axis=2) == 2).all()


def test_blocks_go_by_the_sum_of_their_costs():
    weight, second = problem(8, 12)

    def tallest(costs):
        blocks = costs.reshape(2, 4, 6, 2).sum(axis=(1, 3))
        return largest(5)(blocks).repeat(4, axis=0).repeat(2, axis=1)

    result = sparsegpt(weight, Keep(5, Block(4, 2)), second)

    np.testing.assert_allclose(result, surgery(weight, second[0], tallest, 12), rtol=1e-7, atol=1e-9)


def test_every_group_of_rows_has_moments_of_its_own():
    weight, second = problem(6, 8, groups=3)

    result = sparsegpt(weight, Keep(0, NofM(2, 4)), second)

    alone = [sparsegpt(weight[2 * g : 2 * g + 2], Keep(0, NofM(2, 4)), second[g : g + 1]) for g in range(3)]
    np.testing.assert_allclose(result, np.concatenate(alone), rtol=1e-10)


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_zeros_that_arrive_are_not_revived_and_the_count_is_met(density):
    weight, second = problem(16, 300)
    weight[:, :140] *= np.random.default_rng(1).random((16, 140)) < 0.05

    result = sparsegpt(weight, Keep(round(density * weight.size), Block()), second)

    assert (result[weight == 0] == 0).all()
    assert np.count_nonzero(result) == min(round(density * weight.size), np.count_nonzero(weight))


def test_inputs_that_are_always_zero_cost_nothing_and_break_nothing():
    weight, second = problem(4, 10)
    second[0, 3] = second[0, :, 3] = 0.0

    result = sparsegpt(weight.astype(np.float32), Keep(20, Block()), second)

    assert np.isfinite(result).all()
    assert result.dtype == np.float32
    assert np.isfinite(sparsegpt(weight, Keep(20, Block()), np.zeros((1, 10, 10)))).all()


def test_the_factor_is_the_upper_cholesky_factor_of_the_inverse():
    _, second = problem(1, 17, groups=2)

    for matrix, factor in zip(second, inverse_factor(second), strict=True):
        np.testing.assert_allclose(factor, np.linalg.cholesky(np.linalg.inv(matrix)).T, rtol=1e-6, atol=1e-8)


def test_a_strong_weight_next_to_a_zero_outlives_a_weak_block():
    weight = np.array([[5.0, 0.1], [0.0, 0.1]])

    result = sparsegpt(weight, Keep(1, Block(2, 1)), np.eye(2)[None])

    np.testing.assert_array_equal(result, [[5.0, 0.0], [0.0, 0.0]])
