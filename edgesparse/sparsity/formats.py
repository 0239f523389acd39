"""Packed weight formats of the tiled kernels: K-blocked CSR and dense row panels.

Both describe y[M, N] = w[M, K] @ x[K, N] and cut K into blocks of `k_block` columns, so that a block of x
stays in the L1 cache while every row of w passes over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class BlockedCsr:
    """CSR for each block of K, block after block.

    Shapes: indptr int32 [blocks * M + 1]; indices and values [nnz]. An index counts elements of the packed
    x block: (column - first column of the block) * `scale`.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    index_limit: int  # every index is below it


@dataclass(frozen=True, eq=False)
class RowPanels:
    """Dense weights as [blocks][panels][k_block][rows], zero where M or K does not divide."""

    values: np.ndarray


def pack_csr(w: np.ndarray, k_block: int, scale: int) -> BlockedCsr:
    """Pack the nonzeros of w [M, K], ascending by column inside a row.

    Indices are uint16 where they fit, else int32.
    """
    m, k = w.shape
    counts, indices, values = [], [], []
    for start in range(0, k, k_block):
        block = w[:, start : start + k_block]
        rows, columns = np.nonzero(block)
        counts.append(np.bincount(rows, minlength=m))
        indices.append(columns * scale)
        values.append(block[rows, columns])
    limit = min(k, k_block) * scale
    index_dtype = np.uint16 if limit <= 1 << 16 else np.int32
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32)
    return BlockedCsr(
        indptr, np.concatenate(indices).astype(index_dtype), np.concatenate(values).astype(np.float32), limit
    )


def pack_panels(w: np.ndarray, k_block: int, rows: int) -> RowPanels:
    """Pack w [M, K] so that the inner loop reads `rows` weights of one column next to each other."""
    m, k = w.shape
    blocks, panels = -(-k // k_block), -(-m // rows)
    padded = np.zeros((panels * rows, blocks * k_block), np.float32)
    padded[:m, :k] = w
    cut = padded.reshape(panels, rows, blocks, k_block)
    return RowPanels(np.ascontiguousarray(cut.transpose(2, 0, 3, 1)))


def pack_chained(w: np.ndarray, chains: int) -> BlockedCsr:
    """CSR of w [M, K] with every row padded by (index 0, value 0.0) to a multiple of `chains`.

    indptr counts groups of `chains` entries.
    """
    rows, columns = np.nonzero(w)
    counts = np.bincount(rows, minlength=len(w))
    groups = -(-counts // chains)
    indptr = np.concatenate([[0], np.cumsum(groups)]).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(counts)])
    places = indptr[rows] * chains + np.arange(len(rows)) - first[rows]
    index_dtype = np.uint16 if w.shape[1] <= 1 << 16 else np.int32
    indices, values = np.zeros(indptr[-1] * chains, index_dtype), np.zeros(indptr[-1] * chains, np.float32)
    indices[places], values[places] = columns, w[rows, columns]
    return BlockedCsr(indptr, indices, values, w.shape[1])
