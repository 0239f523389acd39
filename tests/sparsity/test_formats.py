"""Packed weights unpack to the matrix they came from, by an independent reading of the format."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.sparsity.formats import Grouping, pack_chained, pack_groups, pack_panels

SHAPES = [(1, 1), (7, 9), (8, 8), (9, 33), (33, 7)]


def random_sparse(shape: tuple[int, int], density: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) >= density] = 0
    if shape[0] > 2:
        w[1] = 0  # an empty row
    return w


GROUPINGS = [
    Grouping(rows=1, block=(1, 1), splits=1, k_block=7),
    Grouping(rows=4, block=(1, 1), splits=1, k_block=100),
    Grouping(rows=2, block=(1, 1), splits=3, k_block=1),
    Grouping(rows=8, block=(4, 1), splits=2, k_block=8),
    Grouping(rows=2, block=(1, 4), splits=1, k_block=8),
    Grouping(rows=2, block=(2, 1), splits=1, k_block=33),
    Grouping(rows=1, block=(1, 1), splits=1, k_block=16, chunk=4),
    Grouping(rows=4, block=(2, 1), splits=2, k_block=100, chunk=4),
    Grouping(rows=2, block=(1, 4), splits=1, k_block=8, chunk=2),
]


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_groups_hold_every_nonzero_once(shape, grouping, density):
    w, scale = random_sparse(shape, density), 48
    (m, k), (height, depth) = shape, grouping.block

    packed = pack_groups(np.stack([w, 2 * w]), grouping, scale)

    units, members = -(-m // grouping.rows), grouping.rows // height
    blocks = -(-k // grouping.k_block)
    read = np.zeros((2, units * grouping.rows, blocks * grouping.k_block + depth), np.float32)
    for block, group, unit in np.ndindex(blocks, 2, units):
        place = (block * 2 + group) * units + unit
        for step in range(*packed.indptr[place : place + 2]):
            for member, c, q, r in np.ndindex(members, grouping.chunk, depth, height):
                row = packed.order[place * members + member]
                entry = (step * members + member) * grouping.chunk + c
                column = block * grouping.k_block + packed.indices[entry] // scale + q
                read[group, row * height + r, column] += packed.values[entry, q, r]
    np.testing.assert_array_equal(read[0, :m, :k], w)
    np.testing.assert_array_equal(read[1, :m, :k], 2 * w)
    assert np.count_nonzero(read) == 2 * np.count_nonzero(w)
    assert packed.indices.dtype == np.uint16
    assert (packed.indices < packed.index_limit).all()
    assert (packed.indices[packed.indptr[-1 - packed.last_groups] * packed.entries :] < packed.last_limit).all()
    assert (packed.order < packed.order_limit).all()
    places = np.arange(len(packed.order)) % packed.order_limit
    assert (packed.order // packed.order_part == places // packed.order_part).all()


def test_rows_are_sorted_by_their_entries_within_each_range():
    w = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], np.float32)

    one = pack_groups(w[None], Grouping(rows=2, block=(1, 1), splits=1, k_block=3), 16)
    two = pack_groups(w[None], Grouping(rows=2, block=(1, 1), splits=2, k_block=3), 16)

    assert one.order.tolist() == [1, 3, 0, 2]
    assert one.indptr.tolist() == [0, 3, 4]
    assert two.order.tolist() == [1, 0, 3, 2]
    assert two.indptr.tolist() == [0, 3, 5]


def test_groups_take_wide_indices_where_narrow_ones_do_not_reach():
    w = np.ones((1, 1, 1025), np.float32)

    packed = pack_groups(w, Grouping(rows=1, block=(1, 1), splits=1, k_block=1025), 64)

    assert packed.indices.dtype == np.int32
    assert packed.indices[-1] == 1024 * 64


@pytest.mark.parametrize("rows", [1, 4, 6])
@pytest.mark.parametrize("k_block", [1, 7, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_panels_hold_every_weight_and_zeros_around(shape, k_block, rows):
    w = random_sparse(shape, 1.0)

    packed = pack_panels(w, k_block, rows).values

    m, k = shape
    for i in range(packed.shape[1] * rows):
        for j in range(packed.shape[0] * k_block):
            expected = w[i, j] if i < m and j < k else 0
            assert packed[j // k_block, i // rows, j % k_block, i % rows] == expected


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("chains", [1, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_chained_rows_are_padded_to_whole_groups(shape, chains, density):
    w = random_sparse(shape, density)

    packed = pack_chained(w, chains)

    assert len(packed.values) == packed.indptr[-1] * chains
    for row in range(shape[0]):
        begin, end = packed.indptr[row : row + 2] * chains
        read = np.zeros(shape[1], np.float32)
        np.add.at(read, packed.indices[begin:end], packed.values[begin:end])
        np.testing.assert_array_equal(read, w[row])
        assert end - begin < np.count_nonzero(w[row]) + chains
