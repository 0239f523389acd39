"""What a search works with: the layers, what each level of density costs them in loss and in time, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.errors import SearchError
from edgesparse.prune import pattern_called, prunable
from edgesparse.search.choose import Choice, search_coefficients
from edgesparse.search.cluster import over_ray
from edgesparse.search.sensitivity import Feeds, Loss, OutputLoss, WeightLoss, exchangeable, here, sensitivities
from edgesparse.search.state import State
from edgesparse.search.timing import LatencyTable, Measured, Normalise, latency_table
from edgesparse.sparsity.weights import find_weights
from edgesparse.targets import Target

LEVELS = (1.0, 0.7, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.11, 0.08, 0.05, 0.03)
"""Densities that a layer can get; the first is dense."""

CHOICES, MEASUREMENTS, TABLE = "choices", "measurements", "table"


@dataclass(frozen=True)
class Setting:
    """What is searched, and by what.

    Args:
        model: what is pruned.
        layers: tensor by node, of all that can be pruned.
        prune: the model with these densities, by node; whatever else is to be pruned too.
        pattern: of zeros, in the layers.
        levels: densities that a layer can get, the first 1.
        samples: feeds that the calibration loss is measured on; without any, the loss is that of the weights.
        normalise: to the form that the schedule reads.
        threads: that share an inference.
        measure: compile and time a model on the target; None where that is not this machine.
        trials: choices whose loss is measured, for one budget.
        ray: address of the cluster that shares the sensitivity sweep.
        progress: called with a few words when a stage begins.
    """

    model: ir.Model
    layers: Mapping[str, str]
    prune: Callable[[Mapping[str, float]], ir.Model]
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
class Problem:
    """Losses and times [layers, levels] of a setting, and every layer at every level."""

    setting: Setting
    losses: np.ndarray
    table: LatencyTable
    loss_of: Loss
    database: Sequence[Mapping[str, np.ndarray]]  # by level, every tensor pruned to it
    known: dict[tuple[int, ...], float]  # losses of whole choices

    def densities(self, levels: np.ndarray) -> dict[str, float]:
        """Density by node."""
        return {node: self.setting.levels[level] for node, level in zip(self.setting.layers, levels, strict=True)}

    def pruned(self, levels: np.ndarray) -> ir.Model:
        """The model pruned to these levels."""
        return self.setting.prune(self.densities(levels))

    def loss(self, levels: np.ndarray) -> float:
        """The loss of the network put together from the layers at these levels; what is known is not asked again."""
        key = tuple(map(int, levels))
        if key not in self.known:
            chosen = zip(self.setting.layers.values(), key, strict=True)
            self.known[key] = self.loss_of({tensor: self.database[level][tensor] for tensor, level in chosen if level})
            self.setting.state.append(CHOICES, {"levels": key, "loss": self.known[key]})
        return self.known[key]

    def best_within(self, budget_us: float) -> Choice | None:
        """The choice of the least loss whose predicted latency is within the budget; None where there is none.

        Losses of weights add up, so that only those of outputs need trials.
        """
        trials = self.setting.trials if self.setting.samples else 1
        budget = budget_us - self.table.rest_us
        return search_coefficients(self.losses, self.table.us, budget, self.loss, trials=trials)

    def latency_us(self, levels: np.ndarray) -> float:
        """The latency of the model at these levels: measured where the setting can, else predicted."""
        return self.measured_us(levels) if self.setting.measure is not None else self.table.total_us(levels)

    def measured_us(self, levels: np.ndarray) -> float:
        """The latency of the model at these levels, compiled and run here; once for each choice."""
        setting, key = self.setting, [int(level) for level in levels]
        for row in setting.state.rows(MEASUREMENTS):
            if row["levels"] == key:
                return float(row["us"])
        assert setting.measure is not None
        setting.progress("compiling and measuring a candidate")
        us = setting.measure(self.pruned(levels)).us
        setting.state.append(MEASUREMENTS, {"levels": key, "us": us})
        return us


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
    database = [_at_level(setting, at, tensors) for at in range(len(setting.levels))]
    setting.progress(f"measuring what {len(tensors)} layers lose at {len(database) - 1} levels")
    loss_of: Loss = OutputLoss(setting.model, tensors, setting.samples) if setting.samples else WeightLoss(database[0])
    sweep = over_ray(setting.ray, setting.model, tensors, setting.samples) if setting.ray else here(loss_of)
    losses = sensitivities(tensors, database, setting.state, sweep)
    known = {tuple(row["levels"]): row["loss"] for row in setting.state.rows(CHOICES)}
    return Problem(setting, losses, table, loss_of, database, known)


def _at_level(setting: Setting, at: int, tensors: Sequence[str]) -> dict[str, np.ndarray]:
    """Every tensor pruned to a level."""
    model = setting.prune(dict.fromkeys(setting.layers, setting.levels[at])) if at else setting.model
    wanted = set(tensors)
    return {ref.tensor: ref.array() for ref in find_weights(model) if ref.tensor in wanted}


def _table(setting: Setting, tensors: Sequence[str]) -> LatencyTable:
    """The latency table, from the state or made now."""
    for row in setting.state.rows(TABLE):
        nodes = {tensor: tuple(names) for tensor, names in row["nodes"].items()}
        return LatencyTable(np.array(row["us"]), row["rest_us"], row["origin"], nodes)
    dense = setting.prune(dict.fromkeys(setting.layers, 1.0))
    table = latency_table(
        dense, setting.levels, tensors, setting.pattern, setting.normalise, setting.target, setting.threads
    )
    if setting.measure is not None:
        setting.progress("compiling and measuring the dense model")
        table = table.matched(setting.measure(dense))
    row = {"us": table.us.tolist(), "rest_us": table.rest_us, "origin": table.origin, "nodes": dict(table.nodes)}
    setting.state.append(TABLE, row)
    return table
