"""How much each unit matters: what matters least goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import PruneError
from edgesparse.prune.samples import check_samples
from edgesparse.prune.structured.flow import Flow, Use
from edgesparse.prune.structured.groups import Group

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evidence:
    """What importance is judged by: the model, and what the caller gives."""

    model: ir.Model
    flow: Flow
    calibration: Arrays | None = None
    gradients: Arrays | None = None


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
    if evidence.calibration is None:
        raise PruneError("importance activation needs calibration samples: give arrays by input name")
    flow, total = evidence.flow, np.zeros(len(evidence.flow.atoms))
    read = [(layer, labels) for layer in flow.layers if (labels := flow.axes(layer.data)[layer.axis]) is not None]
    samples = check_samples(evidence.model, evidence.calibration)
    session = reference.Session(evidence.model, sorted({str(layer.data.name) for layer, _ in read}), threads=0)
    roots = flow.atoms.roots()
    for feeds in samples.feeds():
        values = session.run(feeds)
        for layer, labels in read:
            squares = values[str(layer.data.name)].astype(np.float64) ** 2
            others = tuple(axis for axis in range(squares.ndim) if axis != layer.axis)
            np.add.at(total, roots[labels], squares.mean(others) / len(samples))
    return _by_unit(groups, total)


IMPORTANCE: dict[str, Importance] = {
    "l1": l1,
    "l2": l2,
    "bn": batch_norm,
    "taylor": taylor,
    "activation": activation,
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
