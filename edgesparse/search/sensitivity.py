"""What pruning costs in loss: each layer alone at each level of density, and a network put together from such."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, SearchError
from edgesparse.search.state import State

LOSSES = "losses"
LEAST_IR_VERSION = 4  # of a model whose initializers need not be inputs
Feeds = Mapping[str, np.ndarray]
Loss = Callable[[Mapping[str, np.ndarray]], float]
"""The loss of the network with these tensors in place of its own."""

Job = tuple[str, int, np.ndarray]
"""A tensor, the index of a level, and the tensor pruned to it."""

Outcome = tuple[str, int, float]
Sweep = Callable[[Iterable[Job]], Iterator[Outcome]]
"""Runs jobs and yields losses as they become known, in any order."""


class OutputLoss:
    """The calibration loss: squared error of the network's outputs over the square of the dense ones', no labels.

    Weights become inputs with defaults, which ONNX Runtime reads at each run, so that any mix of pruned layers costs
    one inference a sample.
    """

    def __init__(self, model: ir.Model, tensors: Iterable[str], samples: Sequence[Feeds], threads: int = 0) -> None:
        """Run the dense network once on every sample.

        Args:
            tensors: names of the weights that will be exchanged.
            samples: feeds; each counts alike.
            threads: of ONNX Runtime; 0: as many as cores.

        Raises: SearchError: ONNX Runtime cannot open or run the model.
        """
        try:
            self._session = reference.Session(_with_weights_as_inputs(model, tensors), threads=threads)
        except OnnxRuntimeError as err:
            raise SearchError(f"calibration: {err}") from err
        self._samples = samples
        self._dense = [self._run(feeds) for feeds in samples]

    def __call__(self, weights: Mapping[str, np.ndarray]) -> float:
        """The mean over the samples and outputs with these weights in place of the model's own."""
        pairs = zip(self._samples, self._dense, strict=True)
        return float(np.mean([_error(dense, self._run({**feeds, **weights})) for feeds, dense in pairs]))

    def _run(self, feeds: Feeds) -> list[np.ndarray]:
        try:
            return list(self._session.run(feeds).values())
        except OnnxRuntimeError as err:
            raise SearchError(f"calibration: {err}") from err


def _error(dense: Sequence[np.ndarray], pruned: Sequence[np.ndarray]) -> float:
    return float(np.mean([relative_error(*pair) for pair in zip(dense, pruned, strict=True)]))


def relative_error(dense: np.ndarray, pruned: np.ndarray) -> float:
    """Sum of squared differences over the sum of squares of `dense`."""
    p, q = dense.astype(np.float64), pruned.astype(np.float64)
    return float(((p - q) ** 2).sum() / max(float((p**2).sum()), np.finfo(np.float64).tiny))


class WeightLoss:
    """Where there are no samples: the sum over the layers of the squared error of the weights over their square."""

    def __init__(self, dense: Mapping[str, np.ndarray]) -> None:
        """Args: dense: the weights as they are, by tensor."""
        self._dense = dense

    def __call__(self, weights: Mapping[str, np.ndarray]) -> float:
        """The loss with these weights in place of the model's own."""
        return sum(relative_error(self._dense[tensor], array) for tensor, array in weights.items())


def sensitivities(
    tensors: Sequence[str], database: Sequence[Mapping[str, np.ndarray]], state: State, sweep: Sweep
) -> np.ndarray:
    """Losses [tensors, levels]; the first level is dense and costs nothing. What `state` knows is not asked again.

    Args:
        database: by level, every tensor pruned to it.
    """
    jobs = [
        (tensor, level, database[level][tensor])
        for tensor in tensors
        for level in range(1, len(database))
        if state.get(LOSSES, [tensor, level]) is None
    ]
    for tensor, level, loss in sweep(jobs):
        state.keep(LOSSES, [tensor, level], loss)
    levels = range(1, len(database))
    return np.array([[0.0, *(state.get(LOSSES, [tensor, level]) for level in levels)] for tensor in tensors])


def here(loss: Loss) -> Sweep:
    """One job after the other in this process."""

    def sweep(jobs: Iterable[Job]) -> Iterator[Outcome]:
        for tensor, level, array in jobs:
            yield tensor, level, loss({tensor: array})

    return sweep


def exchangeable(model: ir.Model) -> set[str]:
    """Names of the constants that can become inputs: those of the graph itself, not of its branches."""
    return set(_lifted(model).graph.initializers)


def _lifted(model: ir.Model) -> ir.Model:
    copy = model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    copy.ir_version = max(copy.ir_version, LEAST_IR_VERSION)
    return copy


def _with_weights_as_inputs(model: ir.Model, tensors: Iterable[str]) -> ir.Model:
    copy = _lifted(model)
    present = {value.name for value in copy.graph.inputs}
    for name in tensors:
        if name not in present:
            copy.graph.inputs.append(copy.graph.initializers[name])
    return copy
