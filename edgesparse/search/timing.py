"""The latency table: what each layer takes on the target at each level of density, as predicted and as it ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import onnx_ir as ir

from edgesparse.devices.targets import Target
from edgesparse.frontend.view import view
from edgesparse.graph.ops import Graph
from edgesparse.graph.provenance import origins
from edgesparse.plan import LayerPlan
from edgesparse.prune import prune
from edgesparse.schedule import plan

Normalise = Callable[[ir.Model], ir.Model]


@dataclass(frozen=True)
class Measured:
    """A compiled model as it ran, in turns with the dense one: the time of an inference of each.

    `steps_us` is that of each kernel call by the name of its layer.
    """

    us: float
    dense_us: float
    steps_us: Mapping[str, float]


@dataclass(frozen=True)
class Timing:
    """What a model with these levels took in microseconds: all of it, and the layers of each tensor."""

    levels: Sequence[int]
    us: float
    layers_us: Sequence[float]


@dataclass(frozen=True)
class LatencyTable:
    """Microseconds of every tensor's layers at every level of density, and of everything else."""

    us: np.ndarray  # [tensors, levels]; the first level is dense
    rest_us: float
    nodes: Mapping[str, Sequence[str]]  # names in the normal form, by tensor

    @property
    def dense_us(self) -> float:
        """The dense model."""
        return self.rest_us + float(self.us[:, 0].sum())

    @property
    def least_us(self) -> float:
        """The fastest levels of all layers."""
        return self.rest_us + float(self.us.min(axis=1).sum())

    def total_us(self, levels: np.ndarray) -> float:
        """The model whose layers have these levels."""
        return self.rest_us + float(self.us[np.arange(len(self.us)), levels].sum())

    def run(self, levels: np.ndarray, measured: Measured, dense_us: float | None = None) -> Timing:
        """A measurement by tensor.

        What the kernels' own clock adds to a run is shared by all of them.

        Args:
            dense_us: what the dense model is taken to need, by which the speed of the machine at that moment cancels.
        """
        us = measured.us * (dense_us or measured.dense_us) / measured.dense_us
        scale = us / max(sum(measured.steps_us.values()), 1e-9)
        layers_us = [scale * sum(measured.steps_us.get(name, 0.0) for name in names) for names in self.nodes.values()]
        return Timing(levels.tolist(), us, layers_us)

    def corrected(self, runs: Sequence[Timing]) -> LatencyTable:
        """The table with what was measured where it was.

        A layer's levels that were not are scaled by those that were, interpolated over the predicted time.
        """
        us = np.array([_corrected(row, at, runs) for at, row in enumerate(self.us)])
        return replace(self, us=us, rest_us=fmean(run.us - sum(run.layers_us) for run in runs))


def _corrected(predicted: np.ndarray, tensor: int, runs: Sequence[Timing]) -> np.ndarray:
    """Times [levels] of one tensor; levels that are predicted alike share what was measured."""
    factors: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        us = float(predicted[run.levels[tensor]])
        if us > 0:
            factors[us].append(run.layers_us[tensor] / us)
    if not factors:
        return predicted
    known = sorted(factors)
    corrected: np.ndarray = predicted * np.interp(predicted, known, [fmean(factors[us]) for us in known])
    return corrected


def latency_table(
    model: ir.Model,
    levels: Sequence[float],
    tensors: Sequence[str],
    pattern: str,
    normalise: Normalise,
    target: Target,
    threads: int,
) -> LatencyTable:
    """Plan the normalised model at every level, and add up what belongs to each tensor.

    What a layer takes depends on where zeros are allowed and on how many there are, hardly on which: the table is made
    from weights pruned by magnitude.

    Args:
        levels: densities; the first is 1.
        tensors: names in `model` of the weights that are to be pruned.
        normalise: to the form that the schedule reads.
        threads: that share the work.
    """
    normal = normalise(model)
    owners = owners_of(view(normal, target.cpu), tensors)
    owned = [name for tensor in tensors for name in owners[tensor]]
    plans = [plan(view(_masked(normal, owned, level, pattern), target.cpu), target, threads) for level in levels]
    us = np.array([[_sum(known.layers, owners[tensor]) for known in plans] for tensor in tensors])
    fixed = sum(p.predicted_us for name, p in plans[0].layers.items() if name not in owned)
    return LatencyTable(us.reshape(len(tensors), -1), fixed + plans[0].rest_us, owners)


def _masked(normal: ir.Model, names: Sequence[str], level: float, pattern: str) -> ir.Model:
    return normal if level == 1 or not names else prune(normal, dict.fromkeys(names, level), pattern=pattern).model


def _sum(plans: Mapping[str, LayerPlan], names: Sequence[str]) -> float:
    return sum(plans[name].predicted_us for name in names)


def owners_of(graph: Graph, tensors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The layers of a graph that compute with each of these tensors of the file."""
    owners: dict[str, list[str]] = {tensor: [] for tensor in tensors}
    for op in graph.weighted:
        for origin in origins(op.stored):
            owners.get(origin.tensor, []).append(op.layer.name)
    return {tensor: tuple(found) for tensor, found in owners.items()}
