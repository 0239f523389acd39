"""What a search works with: the layers, what each level of density costs them in loss and in time, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.devices.targets import Target
from edgesparse.errors import SearchError
from edgesparse.prune import pattern_called, prunable
from edgesparse.search.cluster import over_ray
from edgesparse.search.knapsack import Choice, choose, search_coefficients
from edgesparse.search.sensitivity import Feeds, Loss, OutputLoss, WeightLoss, exchangeable, here, sensitivities
from edgesparse.search.state import State
from edgesparse.search.timing import LatencyTable, Measured, Normalise, Timing, latency_table
from edgesparse.sparsity.weights import find_weights

LEVELS = (1.0, 0.7, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.11, 0.08, 0.05, 0.03)
"""Densities that a layer can get; the first is dense."""

CHOICES, RUNS, TABLE = "choices", "runs", "table"  # names of partial results


@dataclass(frozen=True)
class Setting:
    """What is searched, and by what.

    Args:
        model: what is pruned.
        layers: tensor by node, of all that can be pruned.
        prune: the model with these densities, by node; whatever else is to be pruned too.
        prune_alone: the tensors of all layers, each pruned by itself, for each level.
        pattern: of zeros, in the layers.
        levels: densities that a layer can get, the first 1.
        samples: feeds that the calibration loss is measured on; without any, the loss is that of the weights.
        normalise: to the form that the schedule reads.
        threads: that share an inference.
        measure: compile a model, and time it on the target in turns with the dense one; None where that is not this
            machine.
        trials: choices whose loss is measured, for one budget.
        ray: address of the cluster that shares the sensitivity sweep.
        progress: called with a few words when a stage begins.
    """

    model: ir.Model
    layers: Mapping[str, str]
    prune: Callable[[Mapping[str, float]], ir.Model]
    prune_alone: Callable[[], Sequence[Mapping[str, np.ndarray]]]
    pattern: str
    levels: tuple[float, ...]
    samples: Sequence[Feeds]
    normalise: Normalise
    target: Target
    threads: int
    state: State
    progress: Callable[[str], None]
    measure: Callable[[ir.Model], Measured] | None = None
    trials: int = 60
    ray: str | None = None


@dataclass(frozen=True)
class Found:
    """Densities by node, and what they cost; `loss` is that of the network put together from its pruned layers.

    `latency_us` is the best that is known of the latency: measured, where `measured` says so.
    """

    densities: dict[str, float]
    loss: float
    latency_us: float
    measured: bool


@dataclass(frozen=True)
class Problem:
    """Losses and times [layers, levels] of a setting, and every layer at every level."""

    setting: Setting
    losses: np.ndarray
    predicted: LatencyTable
    loss_of: Loss
    database: Sequence[Mapping[str, np.ndarray]]  # by level, every tensor pruned to it

    @property
    def runs(self) -> list[Timing]:
        """What was measured, the dense model first."""
        return [Timing(**row) for row in self.setting.state.all(RUNS)]

    @property
    def table(self) -> LatencyTable:
        """The times that are expected by what is known so far."""
        return self.predicted.corrected(self.runs) if self.runs else self.predicted

    @property
    def dense(self) -> np.ndarray:
        """The levels of the dense model."""
        return np.zeros(len(self.losses), np.int64)

    def densities(self, levels: np.ndarray) -> dict[str, float]:
        """Density by node."""
        return {node: self.setting.levels[level] for node, level in zip(self.setting.layers, levels, strict=True)}

    def pruned(self, levels: np.ndarray) -> ir.Model:
        """The model pruned to these levels."""
        return self.setting.prune(self.densities(levels))

    def loss(self, levels: np.ndarray) -> float:
        """The loss of the network put together from the layers at these levels."""
        chosen = [*zip(self.setting.layers.values(), levels.tolist(), strict=True)]

        def measured() -> float:
            return self.loss_of({tensor: self.database[level][tensor] for tensor, level in chosen if level})

        return float(self.setting.state.once(CHOICES, levels.tolist(), measured))

    def within(self, budget_us: float, coefficients: np.ndarray | float = 1.0) -> np.ndarray:
        """The levels whose losses have the least weighted sum, and whose expected latency is within the budget.

        The fastest levels, where none are.
        """
        levels = choose(self.losses * np.reshape(coefficients, (-1, 1)), *self._expected(budget_us))
        assert levels is not None  # there is time for the fastest
        return levels

    def best_within(self, budget_us: float) -> Choice:
        """The choice with the least loss of the whole network; else as `within`.

        Losses of weights add up, so that only those of outputs need trials.
        """
        trials = self.setting.trials if self.setting.samples else 1
        choice = search_coefficients(self.losses, *self._expected(budget_us), self.loss, trials=trials)
        assert choice is not None  # there is time for the fastest
        return choice

    def _expected(self, budget_us: float) -> tuple[np.ndarray, float]:
        """Times [layers, levels] by what is known so far, and what is left for them: enough for the fastest."""
        table = self.table
        return table.us, max(budget_us, table.least_us) - table.rest_us

    def latency_us(self, levels: np.ndarray) -> float:
        """The latency of the model at these levels: compiled and run, once, where the setting can; else predicted."""
        measure = self.setting.measure
        if measure is None:
            return self.predicted.total_us(levels)

        def measured() -> dict[str, Any]:
            self.setting.progress("compiling and measuring a model")
            dense_us = self.runs[0].us if self.runs else None
            return asdict(self.predicted.run(levels, measure(self.pruned(levels)), dense_us))

        return float(self.setting.state.once(RUNS, levels.tolist(), measured)["us"])

    def found(self, levels: np.ndarray) -> Found:
        """What there is to say of these levels."""
        measured = self.setting.measure is not None
        return Found(self.densities(levels), self.loss(levels), self.latency_us(levels), measured)


def searchable(model: ir.Model, pattern: str, skip: Sequence[str]) -> tuple[dict[str, str], tuple[float, ...]]:
    """Tensor by node of every layer that a search may prune, and the densities that the pattern allows.

    Raises:
        PruneError: `skip` matches no layer.
        SearchError: nothing is left to prune.
    """
    shape = pattern_called(pattern)
    inside = exchangeable(model)
    refs = {ref.tensor: ref for ref in prunable(find_weights(model), skip, shape) if ref.tensor in inside}
    if not refs:
        raise SearchError(
            f"no layer is left whose density can be chosen with pattern {pattern}; see `edgesparse inspect`"
        )
    return {ref.node: ref.tensor for ref in refs.values()}, LEVELS if shape.density is None else (1.0, shape.density)


def prepare(setting: Setting) -> Problem:
    """Prune every layer to every level, and learn what each costs in loss and in time.

    Raises: SearchError: the samples do not run, or a cluster is asked for that is not there.
    """
    tensors = tuple(setting.layers.values())
    setting.progress("predicting times of every layer at every level")
    table = _table(setting, tensors)
    setting.progress("pruning every layer to every level")
    database = setting.prune_alone()
    setting.progress(f"measuring what {len(tensors)} layers lose at {len(database) - 1} levels")
    loss_of: Loss = OutputLoss(setting.model, tensors, setting.samples) if setting.samples else WeightLoss(database[0])
    sweep = over_ray(setting.ray, setting.model, tensors, setting.samples) if setting.ray else here(loss_of)
    losses = sensitivities(tensors, database, setting.state, sweep)
    problem = Problem(setting, losses, table, loss_of, database)
    problem.latency_us(problem.dense)
    return problem


def _table(setting: Setting, tensors: Sequence[str]) -> LatencyTable:
    """The latency table as predicted."""

    def predicted() -> dict[str, Any]:
        dense = setting.prune(dict.fromkeys(setting.layers, 1.0))
        levels, how = setting.levels, (setting.normalise, setting.target, setting.threads)
        table = latency_table(dense, levels, tensors, setting.pattern, *how)
        return asdict(table) | {"us": table.us.tolist()}

    row = setting.state.once(TABLE, None, predicted)
    return LatencyTable(np.array(row["us"]), row["rest_us"], row["nodes"])
