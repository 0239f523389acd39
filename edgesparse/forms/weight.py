"""Counts of what the packed formats of a weight hold, without packing it."""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np

from edgesparse.sparsity.formats import Grouping

CHAINS = 4  # nonzeros that a step of the sparse kernel of a single column sums


class WeightCounts:
    """Counts of a weight [groups * M, K]; every question is answered once."""

    def __init__(self, weight: np.ndarray, groups: int) -> None:
        self._weight = weight.reshape(groups, -1, weight.shape[1])
        self.stored = cache(self._stored)
        self._filled = cache(self._count_filled)
        self._sorted = cache(self._sort)

    @cached_property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self._weight))

    def _stored(self, block: tuple[int, int]) -> int:
        """Weights in blocks RxQ with a nonzero."""
        return int(self._filled(block)[:, :, -1].sum()) * block[0] * block[1]

    def steps(self, cut: Grouping) -> int:
        """Steps of the sparse loops over all groups of rows: the longest row of a group decides.

        As `sparsity.formats.pack_groups` orders them: by their entries in a block of K, inside each of `splits` ranges.
        """
        members = cut.rows // cut.block[0]
        longest = self._sorted(members, cut.block, cut.k_block, cut.splits)[:, :, ::members]
        return int((-(-longest // cut.chunk)).sum())

    def longest(self, cut: Grouping) -> int:
        """The most weights that a row has in a block of K, as they are packed."""
        entries = self._sorted(cut.rows // cut.block[0], cut.block, cut.k_block, cut.splits)
        return int(entries.max(initial=0)) * cut.block[1]

    @property
    def chains(self) -> int:
        """Groups of CHAINS nonzeros, every row padded to whole groups."""
        return int((-(-np.count_nonzero(self._weight, axis=2) // CHAINS)).sum())

    def _count_filled(self, block: tuple[int, int]) -> np.ndarray:
        """Blocks with a nonzero left of each column, of each block row: [groups, block rows, columns + 1]."""
        height, depth = block
        groups, m, k = self._weight.shape
        padded = np.pad(self._weight != 0, ((0, 0), (0, -m % height), (0, -k % depth)))
        cells = padded.reshape(groups, -(-m // height), height, -(-k // depth), depth)
        filled: np.ndarray = np.any(cells, axis=(2, 4))
        counts = np.zeros((*filled.shape[:2], filled.shape[2] + 1), np.int32)
        np.cumsum(filled, axis=2, out=counts[:, :, 1:])
        return counts

    def _sort(self, members: int, block: tuple[int, int], k_block: int, splits: int) -> np.ndarray:
        """Entries of each row in each block of K, falling inside each range: [groups, blocks, rows]."""
        before = self._filled(block)
        edges = [*range(0, before.shape[2] - 1, k_block // block[1]), before.shape[2] - 1]
        entries = np.diff(before[:, :, edges], axis=2).transpose(0, 2, 1)
        units = -(-entries.shape[2] // members)
        padded = np.pad(entries, ((0, 0), (0, 0), (0, units * members - entries.shape[2])))
        span = -(-units // splits) * members
        return np.concatenate(
            [-np.sort(-padded[:, :, start : start + span]) for start in range(0, units * members, span)], axis=2
        )
