"""Some positions of a layer whose outputs are not seen as they are: below 0, a ReLU makes all of them the same.

Source: Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks for Classification and Detection",
arXiv:1505.06798, section 3.2: outputs are matched behind the nonlinearity, in turns with least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROOM = 1 << 26
"""The most elements of a layer's inputs that are kept."""


@dataclass(frozen=True)
class Rows:
    """What a layer reads [G, P, K], what it should give [G, P, M / G], and `low` and `high` of that shape, between
    which its outputs can be told apart.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(inputs: np.ndarray, outputs: np.ndarray, low: np.ndarray, high: np.ndarray) -> Rows:
        """Rows in float32; `low` and `high` may have axes of 1, along which they are spread."""
        ends = (np.broadcast_to(end, outputs.shape) for end in (low, high))
        with np.errstate(over="ignore"):
            return Rows(*(array.astype(np.float32) for array in (inputs, outputs, *ends)))

    def thinned(self, share: float) -> Rows:
        """As many of them as there is room for; they are a `share` of all positions."""
        step = int(np.ceil(self.inputs.size / (ROOM * share)))
        return Rows(*(array[:, :: max(step, 1)] for array in (self.inputs, self.outputs, self.low, self.high)))

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The positions of all parts."""
        fields = [(part.inputs, part.outputs, part.low, part.high) for part in parts]
        return Rows(*(np.concatenate(arrays, axis=1) for arrays in zip(*fields, strict=True)))

    def given(self, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """The outputs [G, P, M / G] of `weight` [G, M / G, K] and `bias` [M]."""
        given: np.ndarray = self.inputs @ weight.swapaxes(1, 2).astype(np.float32)
        return given if bias is None else given + bias.reshape(len(weight), 1, -1).astype(np.float32)

    def error(self, given: np.ndarray) -> float:
        """Squared error of the outputs `given`, as far as it can be seen."""
        off = np.clip(given, self.low, self.high) - np.clip(self.outputs, self.low, self.high)
        return float(np.square(off).sum(dtype=np.float64))

    def moves(self, given: np.ndarray) -> np.ndarray:
        """What can be added, unseen, to the outputs that should be, to bring them towards those `given`."""
        below, above = self.outputs <= self.low, self.outputs >= self.high
        nearest = np.where(
            below, np.minimum(given, self.low), np.where(above, np.maximum(given, self.high), self.outputs)
        )
        return np.asarray(nearest - self.outputs)
