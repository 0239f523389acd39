"""Put zeros into the weights of an ONNX model; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Allocation, Layer, uniform, unit_counts
from edgesparse.prune.choose import Density, checked_density, density_by_tensor, reasons_to_stay
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.report import LayerReport, PruneReport
from edgesparse.prune.samples import check_samples
from edgesparse.sparsity.patterns import Pattern, parse_pattern
from edgesparse.sparsity.weights import WeightRef, find_weights

Method = Callable[[np.ndarray], np.ndarray]
"""Scores every element of a weight matrix [M, K]; what scores lowest goes first."""

METHODS: dict[str, Method] = {"magnitude": magnitude}

ARRIVED_SPARSE = 0.99
T = TypeVar("T")


@dataclass(frozen=True)
class Pruned:
    """A pruned model and what was done to it."""

    model: ir.Model
    report: PruneReport


def prune(
    model: ir.Model,
    density: Density = None,
    *,
    method: str = "magnitude",
    allocation: str = "uniform",
    pattern: str = "1x1",
    skip: Sequence[str] = (),
    calibration: Mapping[str, np.ndarray] | None = None,
) -> Pruned:
    """Return a copy of `model` in which a share `density` of the prunable weights is left.

    Convolutions and products with constant float weights are prunable, but for the first convolution, depthwise
    convolutions, tensors that other operators read, and what `skip` names. Zeros that are there already stay zeros.

    Args:
        density: kept weights over all prunable ones, in (0, 1], met exactly where no layer is sparser already. Or a
            density for each layer by the name of its node: then `allocation` is not used, layers that are not named
            stay as they are, and a first or a depthwise convolution is pruned where it is named. None only for a
            pattern N:M, whose density is N/M.
        method: a name in METHODS: which weights go first.
        allocation: a name in ALLOCATIONS: how layers share the density; not used for a pattern N:M.
        pattern: block RxQ whose elements go together, or N:M along the input channels.
        skip: shell patterns on node or tensor names.
        calibration: samples by input name, as `check_samples` wants them.

    Raises: PruneError: a value out of range, an unknown name, a `skip` that matches nothing, a density that the
        pattern does not have, samples that do not fit, or nothing to prune.
    """
    shape = parse_pattern(pattern)
    if shape is None:
        raise PruneError(f"pattern {pattern!r} is unknown; expected a block RxQ such as 4x1 or 1x4, or N:M such as 2:4")
    density = checked_density(density, shape)
    score, allocate = _named(METHODS, method, "method"), _named(ALLOCATIONS, allocation, "allocation")
    pruned = model.clone()
    if calibration is not None:
        check_samples(pruned, calibration)
    refs = find_weights(pruned)
    reasons = reasons_to_stay(refs, skip, shape, density)
    chosen = [ref for ref in _unique(refs) if reasons[ref.tensor] is None]
    shares = density_by_tensor(refs, density) if isinstance(density, Mapping) else density
    nnz = _apply(chosen, shares, score, allocate, shape)
    rows = tuple(_row(ref, reasons[ref.tensor], nnz.get(ref.tensor, ref.nnz)) for ref in _unique(refs))
    asked = density if isinstance(density, float) else None
    return Pruned(pruned, PruneReport(asked, method, allocation, pattern, rows))


def _named(registry: dict[str, T], name: str, kind: str) -> T:
    if name not in registry:
        raise PruneError(f"{kind} {name!r} is unknown; expected one of {', '.join(sorted(registry))}")
    return registry[name]


def _apply(
    refs: Sequence[WeightRef],
    density: float | Mapping[str, float],
    score: Method,
    allocate: Allocation,
    pattern: Pattern,
) -> dict[str, int]:
    """Prune the tensors behind `refs`; returns what is left nonzero in each."""
    scores = [score(ref.to_matrix(ref.array())) for ref in refs]
    layers = {ref.tensor: Layer(ref.shape, pattern.reduce(of)) for ref, of in zip(refs, scores, strict=True)}
    counts = unit_counts(layers, density, uniform if pattern.density is not None else allocate)
    nnz: dict[str, int] = {}
    for ref, of in zip(refs, scores, strict=True):
        count = counts[ref.tensor]
        if count == layers[ref.tensor].units:
            continue
        array = ref.array()
        mask = ref.from_matrix(pattern.mask(of, count, ref.window))
        sparse = np.where(mask, array, np.zeros((), array.dtype))
        _store(ref.value, sparse)
        nnz[ref.tensor] = int(np.count_nonzero(sparse))
    return nnz


def _store(value: ir.Value, array: np.ndarray) -> None:
    tensor = ir.tensor(np.ascontiguousarray(array), name=value.name)
    node = value.producer()
    if node is None:
        value.const_value = tensor
        return
    constant = ir.node("Constant", [], attributes={"value": tensor}, name=node.name)
    output, result = constant.outputs[0], node.outputs[0]
    output.type, output.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
    node.append(constant)
    result.replace_all_uses_with(output)
    name, graph = result.name, node.graph
    assert graph is not None
    graph.remove(node, safe=True)
    output.name = name


def _unique(refs: Sequence[WeightRef]) -> list[WeightRef]:
    return list({ref.tensor: ref for ref in reversed(refs)}.values())[::-1]


def _row(ref: WeightRef, reason: str | None, nnz: int) -> LayerReport:
    note = reason
    if reason is None and ref.density < ARRIVED_SPARSE:
        note = f"arrived with density {ref.density:.3g}; its zeros are kept"
    return LayerReport(ref.node, ref.op, ref.tensor, ref.shape, ref.size, ref.nnz, nnz, reason is None, note)
