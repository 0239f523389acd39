"""Patterns that zeros can follow in a weight matrix w[M, K]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgesparse.sparsity.ranking import apportion, keep_largest

LARGEST_GROUP = 64


class Pattern(Protocol):
    """Which elements of w[M, K] can be zero together.

    `window` is the number of places of a convolution's window (kernel height times width; 1 for a product): K then
    counts input channels times places, places being the inner axis, as in a weight [M, C, height, width].
    """

    @property
    def density(self) -> float | None:
        """The density that the pattern fixes, or None where any will do."""

    def misfit(self, m: int, k: int, window: int = 1) -> str | None:
        """Why the pattern does not divide a matrix [m, k], or None where it does."""

    def span(self, window: int = 1) -> int:
        """Neighbouring columns, from a multiple of as many on, whose elements are chosen together."""

    def reduce(self, scores: np.ndarray, window: int = 1) -> np.ndarray:
        """Scores of the units that stay or go together, from scores [M, K] of the elements."""

    def mask(self, scores: np.ndarray, keep: int | float, window: int = 1, *, by_row: bool = False) -> np.ndarray:
        """Mask [M, K], true where an element stays, that keeps the units which score most.

        Args:
            keep: how many units stay, or, as a float, which share of them. A pattern of fixed density needs none.
            by_row: every row (of units) keeps the same number, give or take one.
        """

    def check(self, matrix: np.ndarray, window: int = 1) -> bool:
        """Whether the zeros of `matrix` [M, K] follow the pattern."""


@dataclass(frozen=True)
class Block:
    """`rows` output channels and `columns` neighbouring input channels at one place of the window are kept together.

    1x1 is unstructured.
    """

    rows: int = 1
    columns: int = 1

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def density(self) -> None:
        """Blocks allow any density."""
        return

    @property
    def size(self) -> int:
        """Elements of one block."""
        return self.rows * self.columns

    def misfit(self, m: int, k: int, window: int = 1) -> str | None:
        """Why the pattern does not divide a matrix [m, k], or None where it does."""
        if m % self.rows:
            return f"pattern {self} needs output channels in multiples of {self.rows}; there are {m}"
        channels = k // window
        if channels % self.columns:
            return f"pattern {self} needs input channels in multiples of {self.columns}; there are {channels}"
        return None

    def span(self, window: int = 1) -> int:
        """Columns of a block, and of all that lie between them."""
        return self.columns * self._between(window)

    def _between(self, window: int) -> int:
        """Columns from one of a block to the next; a single one lies at any place."""
        return window if self.columns > 1 else 1

    def split(self, matrix: np.ndarray, window: int = 1) -> np.ndarray:
        """`matrix` [M, K] as [M / rows, rows, channels / columns, columns, window]; a view."""
        m, k = matrix.shape
        return matrix.reshape(m // self.rows, self.rows, k // self.span(window), self.columns, self._between(window))

    def reduce(self, scores: np.ndarray, window: int = 1) -> np.ndarray:
        """Sum `scores` [M, K] over each block: [M / rows, K / columns]."""
        if self.size == 1:
            return scores
        sums: np.ndarray = self.split(scores, window).sum(axis=(1, 3))
        return sums.reshape(len(sums), -1)

    def expand(self, mask: np.ndarray, window: int = 1) -> np.ndarray:
        """Repeat a mask of blocks [M / rows, K / columns] for every element: [M, K]."""
        if self.size == 1:
            return mask
        rows = mask.repeat(self.rows, axis=0)
        return rows.reshape(len(rows), -1, self._between(window)).repeat(self.columns, axis=1).reshape(len(rows), -1)

    def mask(self, scores: np.ndarray, keep: int | float, window: int = 1, *, by_row: bool = False) -> np.ndarray:
        """Mask [M, K] that keeps the blocks with the largest sums of `scores`; see Pattern."""
        units = self.reduce(scores, window)
        count = round(keep * units.size) if isinstance(keep, float) else keep
        if not by_row:
            return self.expand(keep_largest(units, count), window)
        rows, columns = units.shape
        counts = apportion([count / rows] * rows, [columns] * rows, count)
        kept = np.stack([keep_largest(row, stays) for row, stays in zip(units, counts, strict=True)])
        return self.expand(kept, window)

    def check(self, matrix: np.ndarray, window: int = 1) -> bool:
        """Whether every block of `matrix` is all zero or all nonzero."""
        if self.misfit(len(matrix), matrix.shape[1], window) is not None:
            return False
        filled = np.count_nonzero(self.split(matrix, window), axis=(1, 3))
        return bool(((filled == 0) | (filled == self.size)).all())


@dataclass(frozen=True)
class NofM:
    """At most `n` of every `m` neighbouring input channels are nonzero, for each output and place of the window.

    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.
    """

    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def density(self) -> float:
        """n / m."""
        return self.n / self.m

    def misfit(self, m: int, k: int, window: int = 1) -> str | None:
        """Why the pattern does not divide a matrix [m, k], or None where it does."""
        channels = k // window
        if channels % self.m:
            return f"pattern {self} needs input channels in multiples of {self.m}; there are {channels}"
        return None

    def span(self, window: int = 1) -> int:
        """Columns of `m` input channels."""
        return self.m * window

    def groups(self, matrix: np.ndarray, window: int = 1) -> np.ndarray:
        """`matrix` [M, K] as [M, channels / m, window, m]; a copy where there is a window."""
        rows, k = matrix.shape
        return matrix.reshape(rows, k // window // self.m, self.m, window).swapaxes(2, 3)

    def reduce(self, scores: np.ndarray, window: int = 1) -> np.ndarray:
        """The scores themselves: elements stay or go one by one."""
        return scores

    def mask(
        self, scores: np.ndarray, keep: int | float | None = None, window: int = 1, *, by_row: bool = False
    ) -> np.ndarray:
        """Mask [M, K] that keeps the `n` largest scores of every group, whatever `keep` says."""
        groups = self.groups(scores, window)
        order = np.argsort(-groups, axis=-1, kind="stable")
        kept = np.zeros(groups.shape, bool)
        np.put_along_axis(kept, order[..., : self.n], values=True, axis=-1)
        return kept.swapaxes(2, 3).reshape(scores.shape)

    def check(self, matrix: np.ndarray, window: int = 1) -> bool:
        """Whether no group of `matrix` has more than `n` nonzeros."""
        rows, k = matrix.shape
        if self.misfit(rows, k, window) is not None:
            return False
        return bool((np.count_nonzero(self.groups(matrix, window), axis=-1) <= self.n).all())


def parse_pattern(text: str) -> Block | NofM | None:
    """The pattern called `text`, such as "1x1", "4x1" or "2:4"; None where there is none of that name."""
    text = str(text)
    if match := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text):
        return Block(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"([1-9]\d?):([1-9]\d?)", text):
        n, m = int(match[1]), int(match[2])
        return NofM(n, m) if n < m <= LARGEST_GROUP else None
    return None
