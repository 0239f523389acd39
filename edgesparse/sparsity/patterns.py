"""Patterns that zeros can follow in a weight matrix w[M, K]."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """`rows` output channels share an index and `columns` neighbours along K are kept together; 1x1 is unstructured."""

    rows: int = 1
    columns: int = 1

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def size(self) -> int:
        """Elements of one block."""
        return self.rows * self.columns

    def misfit(self, m: int, k: int) -> str | None:
        """Why the pattern does not divide a matrix [m, k], or None where it does."""
        if m % self.rows:
            return f"pattern {self} needs output channels in multiples of {self.rows}; there are {m}"
        if k % self.columns:
            return f"pattern {self} needs inputs in multiples of {self.columns}; there are {k}"
        return None

    def split(self, matrix: np.ndarray) -> np.ndarray:
        """A view of `matrix` [M, K] as [M / rows, rows, K / columns, columns]."""
        m, k = matrix.shape
        return matrix.reshape(m // self.rows, self.rows, k // self.columns, self.columns)

    def reduce(self, scores: np.ndarray) -> np.ndarray:
        """Sum `scores` [M, K] over each block: [M / rows, K / columns]."""
        return scores if self.size == 1 else self.split(scores).sum(axis=(1, 3))

    def expand(self, mask: np.ndarray) -> np.ndarray:
        """Repeat a mask of blocks [M / rows, K / columns] for every element: [M, K]."""
        return mask if self.size == 1 else mask.repeat(self.rows, axis=0).repeat(self.columns, axis=1)

    def check(self, matrix: np.ndarray) -> bool:
        """Whether every block of `matrix` is all zero or all nonzero."""
        if self.misfit(*matrix.shape) is not None:
            return False
        filled = np.count_nonzero(self.split(matrix), axis=(1, 3))
        return bool(((filled == 0) | (filled == self.size)).all())


def parse_pattern(text: str) -> Block | None:
    """The pattern called `text`, such as "1x1" or "4x1"; None where there is none of that name."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
    return Block(int(match[1]), int(match[2])) if match else None
