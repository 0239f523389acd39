"""Allocations against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.prune.allocation import ALLOCATIONS, Scored, erk, global_threshold, lamp, uniform
from edgesparse.sparsity.ranking import apportion, keep_largest


def layer(*shape, scale=1.0, seed=0):
    return Scored(shape, np.abs(np.random.default_rng(seed).standard_normal(shape)) * scale)


def test_uniform_gives_every_layer_the_same_density():
    assert uniform([layer(10, 10), layer(20, 10)], 0.25) == [25, 50]


def test_global_takes_from_the_layer_with_small_weights():
    assert global_threshold([layer(10, 10, scale=100), layer(20, 10, scale=1e-6)], 0.5) == [100, 50]


def test_erk_matches_a_hand_calculation():
    # 0.1 * (10000 + 400) = 1040 weights, shared as 10000 * 200/10000 : 400 * 40/400 = 200 : 40
    assert erk([layer(100, 100), layer(20, 20)], 0.1) == [1040 * 200 // 240 + 1, 1040 * 40 // 240]


def test_erk_leaves_layers_dense_that_would_overflow():
    # 0.5 * (10000 + 100) = 5050 weights; 200 : 20 would give the second 459 of its 100
    assert erk([layer(100, 100), layer(10, 10)], 0.5) == [4950, 100]


def test_erk_counts_the_kernel_window():
    # 64*64*3*3 * (64+64+3+3)/(64*64*9) = 134 against 64*64 * 128/4096 = 128
    first, second = erk([layer(64, 64, 3, 3), layer(64, 64)], 0.05)

    assert first + second == round(0.05 * (36864 + 4096))
    assert first / second == pytest.approx(134 / 128, rel=0.01)


def test_lamp_matches_a_hand_calculation():
    # squares 1 4 9 16 over what is no smaller: 1/30 4/29 9/25 1; squares 100 400 100: 1/6 1/5 1
    first, second = Scored((4,), np.array([2.0, 4.0, 1.0, 3.0])), Scored((3,), np.array([10.0, 20.0, 10.0]))

    assert [lamp([first, second], kept / 7) for kept in (2, 3, 4, 5, 6)] == [[1, 1], [2, 1], [2, 2], [2, 3], [3, 3]]


def test_lamp_of_a_layer_of_zeros_is_lowest():
    assert lamp([Scored((2,), np.zeros(2)), layer(2, 2)], 4 / 6) == [0, 4]


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@pytest.mark.parametrize("density", [1e-4, 0.3, 0.999, 1.0])
def test_totals_are_exact(allocation, density):
    layers = [layer(64, 3), layer(7, 9, seed=1), layer(128, 64, seed=2)]

    counts = ALLOCATIONS[allocation](layers, density)

    assert sum(counts) == round(density * sum(item.units for item in layers))
    assert all(0 <= count <= item.units for count, item in zip(counts, layers, strict=True))


def test_apportion_gives_the_largest_remainders_first():
    assert apportion([1.2, 1.7, 1.1], [9, 9, 9], 4) == [1, 2, 1]


def test_keep_largest_breaks_ties_by_index():
    np.testing.assert_array_equal(keep_largest(np.array([1, 2, 1, 1]), 3), [True, True, True, False])


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (-1, 0), (4, 4), (9, 4)])
def test_keep_largest_at_the_ends(count, kept):
    assert keep_largest(np.arange(4), count).sum() == kept
