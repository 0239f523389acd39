"""Counts of a weight are those of the packed formats."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.weight import CHAINS, WeightCounts
from edgesparse.sparsity.formats import pack_chained, pack_groups


def sparse(shape: tuple[int, ...], density: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) >= density] = 0
    return w


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "tile",
    [
        SparseTile(1, 16),
        SparseTile(1, 16, rows=4, splits=2),
        SparseTile(1, 12, rows=8, splits=3, block=(2, 1)),
        SparseTile(1, 40, rows=4, block=(4, 1)),
        SparseTile(1, 8, rows=2, splits=2, block=(1, 4)),
        SparseTile(1, 16, rows=2, chunk=4),
    ],
)
def test_steps_are_those_that_packing_makes(tile, density):
    w = sparse((2, 13, 40), density)

    counted = WeightCounts(w.reshape(26, 40), groups=2).steps(tile.grouping)

    packed = pack_groups(w, tile.grouping, scale=1)
    assert counted == packed.indptr[-1]


def test_stored_weights_and_chains_are_counted():
    w = np.zeros((6, 8), np.float32)
    w[0, :5] = w[5, 7] = 1

    counts = WeightCounts(w, groups=1)

    assert counts.nonzeros == 6
    assert counts.stored((1, 1)) == 6
    assert counts.stored((4, 1)) == 4 * 6
    assert counts.stored((1, 4)) == 4 * 3
    assert counts.chains == len(pack_chained(w, CHAINS).values) // CHAINS == 3
