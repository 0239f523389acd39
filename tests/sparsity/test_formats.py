"""Packed weights unpack to the matrix they came from, by an independent reading of the format."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.sparsity.formats import pack_chained, pack_csr, pack_panels

SHAPES = [(1, 1), (7, 9), (8, 8), (9, 33), (33, 7)]


def random_sparse(shape: tuple[int, int], density: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) >= density] = 0
    if shape[0] > 2:
        w[1] = 0  # an empty row
    return w


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("k_block", [1, 7, 8, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocked_csr_holds_every_nonzero_once(shape, k_block, density):
    w, scale = random_sparse(shape, density), 48

    packed = pack_csr(w, k_block, scale)

    m, k = shape
    read = np.zeros(shape, np.float32)
    for block in range(-(-k // k_block)):
        for row in range(m):
            begin, end = packed.indptr[block * m + row : block * m + row + 2]
            columns = packed.indices[begin:end].astype(int) // scale + block * k_block
            assert (np.diff(columns) > 0).all()
            read[row, columns] += packed.values[begin:end]
    np.testing.assert_array_equal(read, w)
    assert len(packed.values) == np.count_nonzero(w)
    assert packed.indices.dtype == np.uint16
    assert (packed.indices < packed.index_limit).all()


def test_blocked_csr_takes_wide_indices_where_narrow_ones_do_not_reach():
    w = np.ones((1, 1025), np.float32)

    packed = pack_csr(w, 1025, 64)

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
