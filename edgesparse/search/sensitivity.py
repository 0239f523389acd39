"""What pruning each layer alone, to each level, adds to the calibration loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from edgesparse.search.loss import Stitched
from edgesparse.search.state import State

ROWS = "losses"
Job = tuple[str, int, np.ndarray]
"""A tensor, the index of a level, and the tensor pruned to it."""

Outcome = tuple[str, int, float]
Sweep = Callable[[Iterable[Job]], Iterator[Outcome]]
"""Runs jobs and yields losses as they become known, in any order."""


def sensitivities(
    tensors: Sequence[str], database: Sequence[Mapping[str, np.ndarray]], state: State, sweep: Sweep
) -> np.ndarray:
    """Losses [tensors, levels]; the first level is dense and costs nothing. What `state` knows is not asked again.

    Args:
        database: by level, every tensor pruned to it.
    """
    place = {tensor: at for at, tensor in enumerate(tensors)}
    losses = np.zeros((len(tensors), len(database)))
    known: set[tuple[str, int]] = set()
    for row in state.rows(ROWS):
        known.add((row["tensor"], row["level"]))
        losses[place[row["tensor"]], row["level"]] = row["loss"]
    jobs = (
        (tensor, level, database[level][tensor])
        for tensor in tensors
        for level in range(1, len(database))
        if (tensor, level) not in known
    )
    for tensor, level, loss in sweep(jobs):
        state.append(ROWS, {"tensor": tensor, "level": level, "loss": loss})
        losses[place[tensor], level] = loss
    return losses


def here(stitched: Stitched) -> Sweep:
    """One job after the other, with the threads of ONNX Runtime."""

    def sweep(jobs: Iterable[Job]) -> Iterator[Outcome]:
        for tensor, level, array in jobs:
            yield tensor, level, stitched.loss({tensor: array})

    return sweep

