"""Wanda against a case worked out by hand."""

from __future__ import annotations

import numpy as np

from edgesparse.prune.keep import Keep
from edgesparse.prune.wanda import wanda
from edgesparse.sparsity.patterns import Block, NofM

WEIGHT = np.array([[1.0, -3.0, 2.0, 0.5], [9.0, 8.0, 7.0, -6.0]], np.float32)
NORMS = np.array([10.0, 1.0, 2.0, 40.0])  # scores 10 3 4 20; 90 8 14 240
SECOND = np.diag(NORMS**2)[None]


def test_magnitude_times_norm_of_the_input_is_compared_within_a_row():
    result = wanda(WEIGHT, Keep(4, Block()), SECOND)

    np.testing.assert_array_equal(result, [[1, 0, 0, 0.5], [9, 0, 0, -6]])


def test_every_row_keeps_its_share():
    result = wanda(WEIGHT, Keep(3, Block()), SECOND)

    np.testing.assert_array_equal(result, [[1, 0, 0, 0.5], [0, 0, 0, -6]])


def test_patterns_are_followed():
    np.testing.assert_array_equal(wanda(WEIGHT, Keep(0, NofM(1, 2)), SECOND), [[1, 0, 0, 0.5], [9, 0, 0, -6]])
    np.testing.assert_array_equal(wanda(WEIGHT, Keep(1, Block(2, 1)), SECOND), [[0, 0, 0, 0.5], [0, 0, 0, -6]])


def test_groups_of_rows_have_norms_of_their_own():
    second = np.stack([SECOND[0], np.diag([1.0, 1.0, 100.0, 1.0])])

    result = wanda(WEIGHT, Keep(2, Block()), second)

    np.testing.assert_array_equal(result, [[0, 0, 0, 0.5], [0, 0, 7, 0]])
