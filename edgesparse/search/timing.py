"""The latency table: what each layer would take on the target at each level of density."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgesparse.calibration import ESTIMATED, MEASURED
from edgesparse.layers import Layer, layers
from edgesparse.plan import LayerPlan
from edgesparse.prune import prune
from edgesparse.schedule import calibration_of, plan
from edgesparse.search.rest import rest_us
from edgesparse.sparsity.weights import find_weights
from edgesparse.targets import Target

Normalise = Callable[[ir.Model], ir.Model]


@dataclass(frozen=True)
class Measured:
    """A compiled model as it ran: the time of one inference, and of each kernel call by the name of its layer."""

    us: float
    steps_us: Mapping[str, float]


@dataclass(frozen=True)
class LatencyTable:
    """Predicted microseconds of every prunable tensor's layers at every level, and of everything else.

    `origin` says what the sum was made to agree with: "measured" on this machine, or "estimated".
    """

    tensors: tuple[str, ...]
    levels: tuple[float, ...]  # the first is dense
    us: np.ndarray  # [tensors, levels]
    rest_us: float
    origin: str
    nodes: Mapping[str, tuple[str, ...]]  # names in the normal form, by tensor

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

    def matched(self, dense: Measured) -> LatencyTable:
        """The table scaled so that it gives the measured time of the dense model, in its prunable layers and the rest.

        What the kernels' own clock adds to a run is shared by all of them.
        """
        prunable = {name for names in self.nodes.values() for name in names}
        steps = sum(dense.steps_us.values())
        share = sum(us for name, us in dense.steps_us.items() if name in prunable) / steps
        scale = share * dense.us / max(float(self.us[:, 0].sum()), 1e-9)
        return replace(self, us=self.us * scale, rest_us=(1 - share) * dense.us, origin=MEASURED)


def latency_table(
    pruned: Sequence[ir.Model],
    levels: Sequence[float],
    tensors: Sequence[str],
    normalise: Normalise,
    target: Target,
    threads: int,
) -> LatencyTable:
    """Plan the model at every level, and add up what belongs to each tensor.

    Args:
        pruned: the model with every one of `tensors` at each level of density, the dense model first.
        normalise: to the form that the schedule reads.
        threads: that share the work.
    """
    dense = normalise(pruned[0])
    owners = owners_of(pruned[0], dense, tensors, normalise)
    plans = [plan(normal, target, threads) for normal in (dense, *map(normalise, pruned[1:]))]
    us = np.array([[_sum(known, owners[tensor]) for known in plans] for tensor in tensors]).reshape(len(tensors), -1)
    owned = {name for names in owners.values() for name in names}
    fixed = sum(p.predicted_us for name, p in plans[0].items() if name not in owned)
    rest = fixed + rest_us(dense, calibration_of(target), target.lanes)
    return LatencyTable(tuple(tensors), tuple(levels), us, rest, ESTIMATED, owners)


def _sum(plans: Mapping[str, LayerPlan], names: Sequence[str]) -> float:
    return sum(plans[name].predicted_us for name in names)


def owners_of(
    model: ir.Model, normal: ir.Model, tensors: Sequence[str], normalise: Normalise
) -> dict[str, tuple[str, ...]]:
    """The layers of the normal form that compute with each tensor of `model`.

    Normalising renames, transposes and scales, but zeros stay zeros: each tensor gets a number of zeros of its own, and
    a layer with as many more zeros than in `normal` computes with it. Small tensors get the small numbers.
    """
    refs = {ref.tensor: ref for ref in find_weights(model) if ref.tensor in set(tensors)}
    ordered = enumerate(sorted(refs.values(), key=lambda ref: ref.nnz), start=1)
    numbers = {number: ref for number, ref in ordered if number < ref.nnz}
    marks = {ref.node: (ref.nnz - number) / ref.size for number, ref in numbers.items()}
    before = {layer.name: _zeros(layer) for layer in layers(normal)}
    owners: dict[str, list[str]] = defaultdict(list)
    for layer in layers(normalise(prune(model, marks).model)):
        ref = numbers.get(_zeros(layer) - before.get(layer.name, 0))
        if ref is not None:
            owners[ref.tensor].append(layer.name)
    return {tensor: tuple(owners[tensor]) for tensor in tensors}


def _zeros(layer: Layer) -> int:
    return layer.weight.size - int(np.count_nonzero(layer.weight))
