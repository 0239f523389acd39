"""Block patterns on small matrices."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.sparsity.patterns import Block, parse_pattern


@pytest.mark.parametrize(("text", "block"), [("1x1", Block()), ("4x1", Block(4, 1)), ("1x4", Block(1, 4))])
def test_pattern_reads_back(text, block):
    assert parse_pattern(text) == block
    assert str(block) == text


@pytest.mark.parametrize("text", ["", "0x1", "4", "2:4", "x4", "4x1x1", "-1x1"])
def test_unknown_pattern_is_none(text):
    assert parse_pattern(text) is None


def test_blocks_run_along_the_right_axes():
    matrix = np.arange(8).reshape(4, 2)

    np.testing.assert_array_equal(Block(4, 1).reduce(matrix), [[12, 16]])
    np.testing.assert_array_equal(Block(1, 2).reduce(matrix), [[1], [5], [9], [13]])


def test_expanded_mask_covers_whole_blocks():
    mask = Block(2, 2).expand(np.array([[True, False]]))

    np.testing.assert_array_equal(mask, [[True, True, False, False]] * 2)
    assert Block(2, 2).check(mask)


def test_check_rejects_a_mixed_block():
    assert not Block(2, 1).check(np.array([[1.0], [0.0]]))


@pytest.mark.parametrize(
    ("block", "reason"), [(Block(4, 1), "multiples of 4; there are 6"), (Block(1, 4), "there are 9")]
)
def test_misfit_says_why(block, reason):
    assert reason in block.misfit(6, 9)
