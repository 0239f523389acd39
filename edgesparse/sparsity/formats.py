"""Packed weight formats of the tiled kernels: grouped sparse rows and dense row panels.

Both describe y[M, N] = w[M, K] @ x[K, N] and cut K into blocks of `k_block` columns, so that a block of x
stays in the L1 cache while every row of w passes over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHORT_INDICES = 1 << 16
"""Indices below it take two bytes."""


@dataclass(frozen=True, eq=False)
class GroupedRows:
    """Sparse rows in groups that are computed together, for each block of K; every row of a group has as many entries.

    A row stands for `block` rows of w that share their indices, and an entry for `block` columns. `order` names
    the rows of each group: the rows of a range of M are sorted by their count of entries in this block of K, so that
    groups need little padding (index 0, value 0.0) and neighbouring groups end after as many steps.

    Shapes: indptr int32 [blocks * groups + 1] counts steps, a step being `chunk` entries of each row of a group;
    indices [steps * rows * chunk]; values [steps * rows * chunk, columns, rows of the block]; order [blocks * groups *
    rows]. An index counts elements of the packed x block: (column - first column of the block) * `scale`.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    order: np.ndarray
    entries: int  # indices of a step
    index_limit: int  # every index is below it
    last_groups: int  # groups of rows in the last block of K
    last_limit: int  # every index of the last block of K is below it
    order_limit: int  # every row is below it; as many are listed for a block of K
    order_part: int  # rows of a range of M


@dataclass(frozen=True, eq=False)
class Csr:
    """CSR over the whole of K. Shapes: indptr int32 [M + 1]; indices and values [nnz]."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    index_limit: int  # every index is below it


@dataclass(frozen=True, eq=False)
class RowPanels:
    """Dense weights as [blocks][panels][k_block][rows], zero where M or K does not divide."""

    values: np.ndarray


@dataclass(frozen=True)
class Grouping:
    """How `pack_groups` cuts w[M, K].

    `rows` of w to a group, among them `block` = (rows, columns) share an index; `splits` ranges of M, of
    equal numbers of groups, are sorted each on its own; K is cut every `k_block` columns. A step is `chunk` entries
    of each row.
    """

    rows: int
    block: tuple[int, int]
    splits: int
    k_block: int
    chunk: int = 1


def pack_groups(w: np.ndarray, grouping: Grouping, scale: int) -> GroupedRows:
    """Pack the nonzero blocks of w [groups, M, K], ascending by column inside a row.

    Indices are uint16 where they fit, else int32. A block keeps its zeros.
    """
    height, depth = grouping.block
    groups, m, k = w.shape
    members = grouping.rows // height
    units = -(-m // grouping.rows)
    padded = np.zeros((groups, units * grouping.rows, -(-k // depth) * depth), w.dtype)
    padded[:, :m, :k] = w
    cells = padded.reshape(groups, units * members, height, -1, depth).transpose(0, 1, 3, 4, 2)
    occupied: np.ndarray = np.any(cells, axis=(3, 4))  # [groups, rows, columns], in blocks
    span = -(-units // grouping.splits) * members  # rows of a range of M
    ranges = np.arange(units * members) // span
    orders, steps, indices, values = [], [], [], []
    for start in range(0, occupied.shape[2], grouping.k_block // depth):
        part = occupied[:, :, start : start + grouping.k_block // depth]
        for g in range(groups):
            counts = part[g].sum(axis=1)
            order = np.lexsort((-counts, ranges))
            length = -(-counts[order].reshape(units, members).max(axis=1) // grouping.chunk)
            packed_indices, packed_values = _entries(part[g], cells[g, :, start:], order, length, grouping.chunk)
            orders.append(order)
            steps.append(length)
            indices.append(packed_indices * (depth * scale))
            values.append(packed_values)
    limit, last_limit = (  # an entry reads `depth` rows of the block of x
        (size - depth) * scale + 1
        for size in (min(padded.shape[2], grouping.k_block), (padded.shape[2] - 1) % grouping.k_block + 1)
    )
    return GroupedRows(
        np.concatenate([[0], np.cumsum(np.concatenate(steps))]).astype(np.int32),
        np.concatenate(indices).astype(_index_dtype(limit)),
        np.concatenate(values),
        np.concatenate(orders).astype(_index_dtype(units * members)),
        entries=members * grouping.chunk,
        index_limit=limit,
        last_groups=groups * units,
        last_limit=last_limit,
        order_limit=units * members,
        order_part=span,
    )


def _entries(
    occupied: np.ndarray, cells: np.ndarray, order: np.ndarray, length: np.ndarray, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of one block of K, a value being the [columns, rows] of a block of w."""
    members = len(order) // len(length)
    place = np.empty(len(order), np.int64)  # of a row among the groups
    place[order] = np.arange(len(order))
    rows, columns = np.nonzero(occupied)
    first = np.concatenate([[0], np.cumsum(length)])[place // members]
    counts = occupied.sum(axis=1)
    rank = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    entries = ((first[rows] + rank // chunk) * members + place[rows] % members) * chunk + rank % chunk
    indices = np.zeros(length.sum() * members * chunk, np.int64)
    values = np.zeros((len(indices), *cells.shape[2:]), cells.dtype)
    indices[entries], values[entries] = columns, cells[rows, columns]
    return indices, values


def _index_dtype(limit: int) -> type[np.uint16 | np.int32]:
    """The smallest type for numbers below `limit`."""
    return np.uint16 if limit <= SHORT_INDICES else np.int32


def pack_panels(w: np.ndarray, k_block: int, rows: int) -> RowPanels:
    """Pack w [M, K] so that the inner loop reads `rows` weights of one column next to each other."""
    m, k = w.shape
    blocks, panels = -(-k // k_block), -(-m // rows)
    padded = np.zeros((panels * rows, blocks * k_block), w.dtype)
    padded[:m, :k] = w
    cut = padded.reshape(panels, rows, blocks, k_block)
    return RowPanels(np.ascontiguousarray(cut.transpose(2, 0, 3, 1)))


def pack_chained(w: np.ndarray, chains: int) -> Csr:
    """CSR of w [M, K] with every row padded by (index 0, value 0.0) to a multiple of `chains`.

    indptr counts groups of `chains` entries.
    """
    rows, columns = np.nonzero(w)
    counts = np.bincount(rows, minlength=len(w))
    groups = -(-counts // chains)
    indptr = np.concatenate([[0], np.cumsum(groups)]).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(counts)])
    places = indptr[rows] * chains + np.arange(len(rows)) - first[rows]
    indices = np.zeros(indptr[-1] * chains, _index_dtype(w.shape[1]))
    values = np.zeros(len(indices), w.dtype)
    indices[places], values[places] = columns, w[rows, columns]
    return Csr(indptr, indices, values, w.shape[1])
