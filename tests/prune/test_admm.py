"""ADMM: what it keeps is allowed, and costs less than what is chosen weight by weight."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.prune.admm import admm
from edgesparse.prune.keep import Keep
from edgesparse.prune.moments import damped, output_error
from edgesparse.prune.reconstruct import reconstruct
from edgesparse.prune.sparsegpt import sparsegpt
from edgesparse.sparsity.patterns import Block, NofM
from tests.prune.test_sparsegpt import problem


@pytest.mark.parametrize(("pattern", "count"), [(Block(), 40), (Block(4, 1), 10), (Block(1, 4), 10), (NofM(2, 4), 0)])
def test_it_loses_less_than_sparsegpt_once_both_are_fitted(pattern, count):
    def loss(method, seed):
        weight, second = problem(8, 40, seed=seed)
        return output_error(weight, reconstruct(weight, method(weight, Keep(count, pattern), second), second), second)

    losses = np.array([[loss(method, seed) for method in (admm, sparsegpt)] for seed in range(8)])

    assert losses[:, 0].mean() < 0.95 * losses[:, 1].mean()
    assert np.count_nonzero(losses[:, 0] < losses[:, 1]) >= 6


def test_independent_inputs_leave_what_costs_most():
    second = np.diag([1.0, 4.0, 9.0, 0.25])[None]
    weight = np.array([[3.0, -1.2, 0.5, 2.0], [0.1, 1.0, -1.0, 4.0]])
    cost = damped(second)[0].diagonal() * weight**2

    kept = admm(weight, Keep(4, Block()), second)

    np.testing.assert_allclose(kept, np.where(cost >= np.sort(cost, axis=None)[-4], weight, 0.0), rtol=1e-3)


@pytest.mark.parametrize("pattern", [Block(), Block(2, 4), NofM(1, 4)])
@pytest.mark.parametrize("density", [0.0, 0.25, 1.0])
def test_what_is_left_follows_the_pattern_and_the_count(pattern, density):
    weight, second = problem(6, 24)
    count = round(density * weight.size / getattr(pattern, "size", 1))

    kept = admm(weight.astype(np.float32), Keep(count, pattern), second)

    assert kept.dtype == np.float32
    assert pattern.check(kept)
    if isinstance(pattern, Block):
        assert np.count_nonzero(kept) == count * pattern.size


def test_zeros_that_arrive_stay_zeros():
    weight, second = problem(8, 16)
    weight[:, ::3] = 0.0

    assert not admm(weight, Keep(64, Block()), second)[:, ::3].any()


def test_every_group_of_rows_has_moments_of_its_own():
    weight, second = problem(6, 8, groups=3)

    whole = admm(weight, Keep(0, NofM(2, 4)), second)

    alone = [admm(weight[2 * g : 2 * g + 2], Keep(0, NofM(2, 4)), second[g : g + 1]) for g in range(3)]
    np.testing.assert_allclose(whole, np.concatenate(alone), rtol=1e-8)


def test_inputs_that_are_always_zero_break_nothing():
    weight, second = problem(4, 10)
    second[0, 3] = second[0, :, 3] = 0.0

    assert np.isfinite(admm(weight, Keep(20, Block()), second)).all()
    assert np.isfinite(admm(weight, Keep(20, Block()), np.zeros((1, 10, 10)))).all()
