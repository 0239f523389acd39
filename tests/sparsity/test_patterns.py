"""Block patterns on small matrices."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.sparsity.patterns import Block, NofM, parse_pattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("1x1", Block()), ("4x1", Block(4, 1)), ("1x4", Block(1, 4)), ("2:4", NofM(2, 4)), ("1:16", NofM(1, 16))],
)
def test_pattern_reads_back(text, pattern):
    assert parse_pattern(text) == pattern
    assert str(pattern) == text


@pytest.mark.parametrize("text", ["", "0x1", "4", "4:2", "4:4", "0:4", "1:65", "x4", "4x1x1", "-1x1"])
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


@pytest.mark.parametrize(("keep", "kept"), [(3, 3), (0.5, 4), (0, 0), (8, 8)])
def test_block_mask_keeps_the_largest_blocks(keep, kept):
    scores = np.array([[1, 9, 2, 3], [4, 1, 1, 1], [0, 0, 8, 8], [5, 6, 0, 7]])

    mask = Block(1, 2).mask(scores, keep)

    sums = scores.reshape(4, 2, 2).sum(axis=2)
    assert mask.sum() == 2 * kept and Block(1, 2).check(mask)
    dropped = sums[~mask[:, ::2]].max(initial=0)
    assert (sums[mask[:, ::2]] >= dropped).all()


def test_mask_by_row_keeps_as_many_in_every_row():
    scores = np.arange(24).reshape(6, 4)

    np.testing.assert_array_equal(Block(2, 1).mask(scores, 6, by_row=True), [[False, False, True, True]] * 6)
    assert Block().mask(scores, 13, by_row=True).sum(axis=1).tolist() == [3, 2, 2, 2, 2, 2]


def test_n_of_m_keeps_the_largest_of_every_group():
    scores = np.array([[4, 1, 3, 2, 0, 0, 0, 0], [1, 2, 3, 4, 9, 1, 9, 9]])

    mask = NofM(2, 4).mask(scores)

    np.testing.assert_array_equal(mask * 1, [[1, 0, 1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0, 1, 0]])


def test_n_of_m_runs_along_channels_where_there_is_a_window():
    weight = np.random.default_rng(0).random((3, 8, 2, 2))

    mask = NofM(1, 4).mask(weight.reshape(3, 32), window=4).reshape(3, 2, 4, 2, 2)

    np.testing.assert_array_equal(mask.argmax(axis=2), weight.reshape(3, 2, 4, 2, 2).argmax(axis=2))
    assert (mask.sum(axis=2) == 1).all()
    assert NofM(1, 4).check(mask.reshape(3, 32), window=4)
    assert not NofM(1, 4).check(mask.reshape(3, 32))


def test_n_of_m_check_allows_fewer():
    assert NofM(2, 4).check(np.array([[0.0, 1, 0, 0], [0, 0, 0, 0]]))
    assert not NofM(2, 4).check(np.array([[0.0, 1, 1, 1]]))
    assert not NofM(2, 4).check(np.zeros((1, 6)))


def test_n_of_m_misfit_counts_channels():
    assert "multiples of 4; there are 3" in NofM(2, 4).misfit(5, 27, window=9)
    assert NofM(2, 4).misfit(5, 36, window=9) is None
