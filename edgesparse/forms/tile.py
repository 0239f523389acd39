"""The tile of a weighted layer's kernel: how it is cut, and what it holds in registers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Tile of y[M, N] = w[M, K] @ x[K, N] over N.

    `vectors` SIMD registers of columns at a time; x is packed `k_block` rows at a time; `rows` output rows are
    accumulated at once; M is cut into `splits` ranges that run in parallel. In sparse kernels, `block` = (rows,
    columns) of w share an index: (1, 1) is unstructured; a step of their inner loop takes `chunk` entries of each row.
    Dense kernels may compute outputs in squares of side `square` by minimal filtering (Winograd); then `vectors` and
    N count squares, and x is transformed whole. Those of few columns may lay their vectors over M: `columns` of N, no
    more than a register has lanes, are accumulated at once for `vectors` registers of rows, and it is N that is cut
    into `splits` ranges.
    """

    vectors: int
    k_block: int
    rows: int = 1
    splits: int = 1
    block: tuple[int, int] = (1, 1)
    chunk: int = 1
    square: int = 1
    columns: int = 0

    @property
    def name(self) -> str:
        """A word for it, such as u4k128r7, or 1x4_u7k256r1c4s2."""
        block = "" if self.block == (1, 1) else "{}x{}_".format(*self.block)
        parts = {"c": self.chunk, "s": self.splits, "q": self.square}
        more = "".join(f"{letter}{count}" for letter, count in parts.items() if count > 1)
        return f"{block}u{self.vectors}k{self.k_block}r{self.rows}{more}{f'n{self.columns}' if self.columns else ''}"
