"""Allocations: which layer gets which density. All of them meet the requested density over all layers exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesparse.sparsity.ranking import apportion, keep_largest


@dataclass(frozen=True)
class Scored:
    """What an allocation may look at: the shape of the weight, and a score for each unit (element or block)."""

    shape: tuple[int, ...]
    scores: np.ndarray

    @property
    def units(self) -> int:
        """Count of elements or blocks that stay or go together."""
        return self.scores.size


Allocation = Callable[[Sequence[Scored], float], list[int]]
"""Units to keep in each layer, for a density over all of them."""


def uniform(layers: Sequence[Scored], density: float) -> list[int]:
    """The same density in every layer."""
    sizes = [layer.units for layer in layers]
    return apportion([density * size for size in sizes], sizes, round(density * sum(sizes)))


def global_threshold(layers: Sequence[Scored], density: float) -> list[int]:
    """One threshold for all layers: the largest scores stay, wherever they are.

    Source: Han et al. 2015, "Learning both Weights and Connections", arXiv:1506.02626, with one shared threshold.
    """
    scores = np.concatenate([layer.scores.reshape(-1) for layer in layers])
    mask = keep_largest(scores, round(density * scores.size))
    ends = np.cumsum([layer.units for layer in layers])
    return [int(np.count_nonzero(part)) for part in np.split(mask, ends[:-1])]


def erk(layers: Sequence[Scored], density: float) -> list[int]:
    """Erdos-Renyi-Kernel: density proportional to the sum of a weight's dimensions over their product.

    Layers whose share would exceed 1 stay dense and the rest is shared again.

    Source: Evci et al. 2020, "Rigging the Lottery", arXiv:1911.11134, section 3.
    """
    sizes = [layer.units for layer in layers]
    total = round(density * sum(sizes))
    raw = [sum(layer.shape) / float(np.prod(layer.shape, dtype=np.float64)) for layer in layers]
    dense: set[int] = set()
    while True:
        shared = [at for at in range(len(layers)) if at not in dense]
        weight = sum(raw[at] * sizes[at] for at in shared)
        budget = total - sum(sizes[at] for at in dense)
        scale = max(budget, 0) / weight if weight else 0.0
        full = [at for at in shared if scale * raw[at] > 1.0]
        if not full:
            break
        dense.update(full)
    quotas = [float(sizes[at]) if at in dense else scale * raw[at] * sizes[at] for at in range(len(layers))]
    return apportion(quotas, sizes, total)


def lamp(layers: Sequence[Scored], density: float) -> list[int]:
    """One threshold for all layers on each score's square over the squares of all that are no smaller in its layer.

    That is the share of the layer's output which a weight's removal costs at the worst input; the largest of every
    layer gets 1, so that no layer vanishes.

    Source: Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", arXiv:2010.07611, section 3.
    """
    return global_threshold([Scored(layer.shape, _lamp_scores(layer.scores)) for layer in layers], density)


def _lamp_scores(scores: np.ndarray) -> np.ndarray:
    squares = np.square(scores.reshape(-1), dtype=np.float64)
    order = np.argsort(squares, kind="stable")
    left = np.cumsum(squares[order][::-1])[::-1]  # the squares from each on upwards
    relative: np.ndarray = np.empty_like(squares)
    relative[order] = np.divide(squares[order], left, out=np.zeros_like(left), where=left > 0)
    return relative


ALLOCATIONS: dict[str, Allocation] = {"uniform": uniform, "global": global_threshold, "erk": erk, "lamp": lamp}


def unit_counts(
    layers: Mapping[str, Scored], density: float | Mapping[str, float], allocate: Allocation
) -> dict[str, int]:
    """Units to keep by layer, for a density over all of them or one for each."""
    if isinstance(density, Mapping):
        return {name: round(density[name] * layer.units) for name, layer in layers.items()}
    return dict(zip(layers, allocate(list(layers.values()), density), strict=True))
