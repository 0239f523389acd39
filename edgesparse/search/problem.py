"""What a search knows before it chooses: who can be pruned, and what each level costs in loss and in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.prune import prune
from edgesparse.search.cluster import over_ray
from edgesparse.search.coefficients import Profile, search_coefficients
from edgesparse.search.loss import Feeds, Stitched, exchangeable
from edgesparse.search.sensitivity import here, sensitivities
from edgesparse.search.state import State
from edgesparse.search.timing import LatencyTable, Measured, Normalise, latency_table
from edgesparse.sparsity.patterns import parse_pattern
from edgesparse.sparsity.weights import find_weights
from edgesparse.targets import Target

LEVELS = (1.0, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
"""Densities that a layer can get; the first is dense."""

TRIAL_DENSITY = 0.5
PROFILES, TABLE = "profiles", "table"


@dataclass(frozen=True)
class Setting:
    """What a search works with.

    Args:
        model: what is pruned.
        layers: tensor by node, of all that can be pruned.
        prune: the model with these densities, by node; other layers as they are.
        mask: the same by a quick method: what the layers take depends on where zeros are allowed, not on which.
        levels: densities that a layer can get, the first 1.
        samples: what the calibration loss is measured on.
        normalise: to the form that the schedule reads.
        measure: compile and time a model on the target; None where that is not this machine.
        threads: that share an inference.
        trials: profiles whose loss is measured, for one budget.
        ray: address of the cluster that shares the sensitivity sweep.
        progress: called with a few words when a stage begins.
    """

    model: ir.Model
    layers: Mapping[str, str]
    prune: Callable[[Mapping[str, float]], ir.Model]
    mask: Callable[[Mapping[str, float]], ir.Model]
    samples: Sequence[Feeds]
    normalise: Normalise
    target: Target
    state: State
    progress: Callable[[str], None]
    levels: tuple[float, ...] = LEVELS
    measure: Callable[[ir.Model], Measured] | None = None
    threads: int = 1
    trials: int = 100
    ray: str | None = None


@dataclass(frozen=True)
class Problem:
    """Losses and times [layers, levels] of a setting, and the network stitched from its layers."""

    setting: Setting
    losses: np.ndarray
    table: LatencyTable
    stitched: Stitched
    database: Sequence[Mapping[str, np.ndarray]]
    known: dict[tuple[int, ...], float]  # losses of whole profiles

    def densities(self, levels: np.ndarray) -> dict[str, float]:
        """Density by node."""
        return {node: self.setting.levels[level] for node, level in zip(self.setting.layers, levels, strict=True)}

    def pruned(self, levels: np.ndarray) -> ir.Model:
        """The model pruned to these levels."""
        return self.setting.prune(self.densities(levels))

    def loss(self, levels: np.ndarray) -> float:
        """The calibration loss of the stitched network; what the state knows is not measured again."""
        key = tuple(map(int, levels))
        if key not in self.known:
            chosen = zip(self.table.tensors, key, strict=True)
            weights = {tensor: self.database[level][tensor] for tensor, level in chosen if level}
            self.known[key] = self.stitched.loss(weights)
            self.setting.state.append(PROFILES, {"levels": key, "loss": self.known[key]})
        return self.known[key]

    def best_within(self, budget_us: float, trials: int) -> Profile | None:
        """The profile with the least loss whose predicted latency is within the budget; None where there is none."""
        budget = budget_us - self.table.rest_us
        return search_coefficients(self.losses, self.table.us, budget, self.loss, trials=trials)


def prunable_layers(model: ir.Model, pattern: str, skip: Sequence[str]) -> tuple[dict[str, str], tuple[float, ...]]:
    """Tensor by node of every layer that a search may prune, and the densities that the pattern allows.

    Raises: PruneError: the options do not fit, or nothing can be pruned.
    """
    shape = parse_pattern(pattern)
    fixed = None if shape is None else shape.density
    report = prune(model, fixed or TRIAL_DENSITY, pattern=pattern, skip=skip).report
    inside = exchangeable(model)
    layers = {row.node: row.tensor for row in report.layers if row.prunable and row.tensor in inside}
    return layers, LEVELS if fixed is None else (1.0, fixed)


def prepare(setting: Setting) -> Problem:
    """Prune every layer to every level, and learn what each costs in loss and in time.

    Raises: SearchError: the samples do not run, or a cluster is asked for that is not there.
    """
    tensors = tuple(setting.layers.values())
    setting.progress("pruning every layer to every level")
    database = [_level(setting, at, tensors) for at in range(len(setting.levels))]
    table = _table(setting, tensors)
    setting.progress(f"measuring what {len(tensors)} layers lose at {len(database) - 1} levels")
    stitched = Stitched(setting.model, tensors, setting.samples)
    sweep = over_ray(setting.ray, setting.model, tensors, setting.samples) if setting.ray else here(stitched)
    losses = sensitivities(tensors, database, setting.state, sweep)
    known = {tuple(row["levels"]): row["loss"] for row in setting.state.rows(PROFILES)}
    return Problem(setting, losses, table, stitched, database, known)


def _level(setting: Setting, at: int, tensors: Sequence[str]) -> dict[str, np.ndarray]:
    """Every tensor pruned to a level, from the state or made now."""
    name = f"weights-{setting.levels[at]:g}"
    kept = setting.state.arrays(name)
    if kept is not None:
        return {tensor: kept[str(number)] for number, tensor in enumerate(tensors)}
    model = setting.prune(dict.fromkeys(setting.layers, setting.levels[at])) if at else setting.model
    wanted = set(tensors)
    arrays = {ref.tensor: ref.array() for ref in find_weights(model) if ref.tensor in wanted}
    setting.state.keep(name, {str(number): arrays[tensor] for number, tensor in enumerate(tensors)})
    return arrays


def _table(setting: Setting, tensors: Sequence[str]) -> LatencyTable:
    """The latency table, from the state or made now."""
    for row in setting.state.rows(TABLE):
        nodes = {tensor: tuple(names) for tensor, names in row["nodes"].items()}
        return LatencyTable(tensors, setting.levels, np.array(row["us"]), row["rest_us"], row["origin"], nodes)
    setting.progress("predicting times of every layer at every level")
    masked = (setting.mask(dict.fromkeys(setting.layers, level)) for level in setting.levels[1:])
    models = (setting.model, *masked)
    table = latency_table(models, setting.levels, tensors, setting.normalise, setting.target, setting.threads)
    if setting.measure is not None:
        setting.progress("measuring the dense model")
        table = table.matched(setting.measure(setting.model))
    row = {"us": table.us.tolist(), "rest_us": table.rest_us, "origin": table.origin, "nodes": dict(table.nodes)}
    setting.state.append(TABLE, row)
    return table
