"""How much each unit matters: what matters least goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.samples import Samples, check_samples
from edgesparse.prune.structured.flow import Flow, Use
from edgesparse.prune.structured.groups import Group
from edgesparse.prune.structured.reading import Reading, readings

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """What importance is judged by: the model, and what the caller gives."""

    model: ir.Model
    flow: Flow
    calibration: Arrays | None = None
    gradients: Arrays | None = None

    @cached_property
    def samples(self) -> Samples:
        """The calibration samples, checked; there must be some."""
        assert self.calibration is not None
        return check_samples(self.model, self.calibration)

    @cached_property
    def readings(self) -> list[Reading]:
        """What the samples say of all units that can go."""
        return readings(self.model, self.flow, self.samples)


Importance = Callable[[Evidence, list[Group]], list[np.ndarray]]
"""Importance of each unit of each group, at least 0."""


def l1(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """Sum of the magnitudes of all coupled weights.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv:1608.08710.
    """
    return _by_unit(groups, _summed(evidence.flow, _weights(evidence.flow), np.abs))


def l2(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """Euclidean norm of all coupled weights.

    Source: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", arXiv:2301.12900.
    """
    return [
        np.sqrt(squares) for squares in _by_unit(groups, _summed(evidence.flow, _weights(evidence.flow), np.square))
    ]


def batch_norm(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """Sum of |gamma| over all BatchNormalization that a unit passes.

    Raises: PruneError: a group passes none.
    Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519.
    """
    flow = evidence.flow
    scales = [use for use in flow.uses if use.role == "scale"]
    passed = _summed(flow, scales, np.ones_like)
    for group in groups:
        if not passed[group.units].all():
            raise PruneError(
                f"importance bn: the {group.kind} of {group.name} pass no BatchNormalization; "
                "skip that layer, choose other kinds, or use another importance such as l2"
            )
    return _by_unit(groups, _summed(flow, scales, np.abs))


def taylor(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """Sum of |w * dL/dw| over all coupled weights: to first order, what the loss changes by without each.

    Raises: PruneError: a gradient is missing, or has another shape than its weight.
    Source: Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", arXiv:1906.10771.
    """
    if evidence.gradients is None:
        raise PruneError("importance taylor needs gradients: give a mapping from initializer names to arrays")
    total = np.zeros(len(evidence.flow.atoms))
    for use in _weights(evidence.flow):
        name, array = str(use.value.name), _array(evidence.flow, use)
        gradient = evidence.gradients.get(name)
        if gradient is None or np.shape(gradient) != array.shape:
            got = "nothing" if gradient is None else f"shape {list(np.shape(gradient))}"
            raise PruneError(f"importance taylor: got {got} as the gradient of {name}, expected {list(array.shape)}")
        _add(evidence.flow, total, use, np.abs(array * gradient))
    return _by_unit(groups, total)


def activation(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """Mean square of what the layers read from a unit, over all samples; summed over the layers.

    Raises: PruneError: there are no samples, or they do not fit the model.
    Source: Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference",
    arXiv:1611.06440, whose activation criterion is the mean; the square does not let signs cancel.
    """
    total, roots = np.zeros(len(evidence.flow.atoms)), evidence.flow.atoms.roots()
    for reading in _readings(evidence, "activation"):
        np.add.at(total, roots[reading.labels], reading.square)
    return _by_unit(groups, total)


def output(evidence: Evidence, groups: list[Group]) -> list[np.ndarray]:
    """What the outputs of the layers that read a unit lose without it, if biases make up for the mean.

    That is the variance of what is read times the squares of the weights that read it, as a share of the layer's sum of
    these; summed over the layers. It sees both sides: what makes a unit by the variance, what reads it by the weights.

    Raises: PruneError: there are no samples, or they do not fit the model.
    Source: An et al. 2024, "Fluctuation-based Adaptive Structured Pruning for Large Language Models",
    arXiv:2312.11983.
    """
    flow, total, roots = evidence.flow, np.zeros(len(evidence.flow.atoms)), evidence.flow.atoms.roots()
    for reading in _readings(evidence, "output"):
        lost = reading.square - reading.mean**2
        if not reading.made:
            weighted = reading.layer.weight
            axis = next((at for at, along in enumerate(weighted.labels) if along is reading.labels), None)
            if axis is None:
                continue
            weight = _array(flow, weighted) ** 2
            lost = lost * weight.sum(tuple(at for at in range(weight.ndim) if at != axis))
        if lost.sum() > 0:
            np.add.at(total, roots[reading.labels], lost / lost.sum())
    return _by_unit(groups, total)


def _readings(evidence: Evidence, name: str) -> list[Reading]:
    if evidence.calibration is None:
        raise PruneError(f"importance {name} needs calibration samples: give arrays by input name")
    return evidence.readings


IMPORTANCE: dict[str, Importance] = {
    "l1": l1,
    "l2": l2,
    "bn": batch_norm,
    "taylor": taylor,
    "activation": activation,
    "output": output,
}
"""Measures of importance by name."""


def _weights(flow: Flow) -> list[Use]:
    """Weights of all layers; a weight that is read twice counts twice."""
    return [layer.weight for layer in flow.layers if any(labels is not None for labels in layer.weight.labels)]


def _array(flow: Flow, use: Use) -> np.ndarray:
    array = flow.known(use.value)
    assert array is not None
    return array.astype(np.float64)


def _summed(flow: Flow, uses: Iterable[Use], function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """For each set of atoms the sum of `function` over the slices that it has in `uses`."""
    total = np.zeros(len(flow.atoms))
    for use in uses:
        _add(flow, total, use, function(_array(flow, use)))
    return total


def _add(flow: Flow, total: np.ndarray, use: Use, values: np.ndarray) -> None:
    roots = flow.atoms.roots()
    for axis, labels in enumerate(use.labels):
        if labels is not None:
            others = tuple(at for at in range(values.ndim) if at != axis)
            np.add.at(total, roots[labels], values.sum(others))


def _by_unit(groups: list[Group], total: np.ndarray) -> list[np.ndarray]:
    return [total[group.units] for group in groups]
