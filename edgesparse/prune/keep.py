"""How many weights of a layer stay, and where they may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.sparsity.patterns import Pattern


@dataclass(frozen=True)
class Keep:
    """`count` units of `pattern` stay in w[M, K]; `window` is the inner axis of K, as in Pattern."""

    count: int
    pattern: Pattern
    window: int = 1

    def largest(self, weight: np.ndarray, scores: np.ndarray, *, by_row: bool = False) -> np.ndarray:
        """`weight` [M, K] where `scores` are largest, zero elsewhere."""
        mask = self.pattern.mask(scores, self.count, self.window, by_row=by_row)
        return np.where(mask, weight, np.zeros((), weight.dtype))
