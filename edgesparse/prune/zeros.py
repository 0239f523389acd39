"""Put zeros into the weights of an ONNX model; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Allocation, Scored, uniform, unit_counts
from edgesparse.prune.keep import Keep
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.methods import METHODS, Method, by_magnitude, prune_matrix
from edgesparse.prune.moments import Moments
from edgesparse.prune.prunable import Density, checked_density, density_by_tensor, never_pruned, reasons_to_stay
from edgesparse.prune.report import LayerReport, PruneReport
from edgesparse.prune.samples import Samples, check_samples
from edgesparse.prune.seen import Seen, seen, unique
from edgesparse.sparsity.patterns import Pattern, parse_pattern
from edgesparse.sparsity.stored import stored_array
from edgesparse.sparsity.weights import WeightRef, find_weights

ARRIVED_SPARSE, ARRIVED_SPARSE_INTEGERS = 0.99, 0.9
"""Densities below which zeros were put there by somebody; some of a quantizer's integers are zero by themselves."""
MATCHES = ("dense", "own")
"""What the outputs of a layer should be: those of the dense network, or what its own dense weights give on the inputs
that the network pruned so far brings."""
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
    reconstruct: bool = False,
    match: str = "dense",
    dense: ir.Model | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Pruned:
    """Return a copy of `model` in which a share `density` of the prunable weights is left.

    Convolutions and products with constant float weights are prunable, but for the first convolution, depthwise
    convolutions, tensors that other operators read, and what `skip` names. Zeros that are there already stay zeros.

    Args:
        density: kept weights over all prunable ones, in (0, 1], met exactly where no layer is sparser already. Or a
            density for each layer by the name of its node: then `allocation` is not used, layers that are not named
            stay as they are, and a first or a depthwise convolution is pruned where it is named. None only for a
            pattern N:M, whose density is N/M.
        method: a name in METHODS: which weights go first, and what becomes of the others.
        allocation: a name in ALLOCATIONS: how layers share the density, by magnitudes; not used for a pattern N:M.
        pattern: block RxQ whose elements go together, or N:M along the input channels.
        skip: shell patterns on node or tensor names.
        calibration: samples by input name, as `check_samples` wants them.
        reconstruct: choose the values of the weights that stay anew, so that the layer's outputs change least.
        match: a name in MATCHES: what the outputs of a layer whose weights change should be.
        dense: the dense network, where `model` has been pruned in part already; `model` by default.
        progress: called with the share of the layers that are pruned.

    Raises: PruneError: a value out of range, an unknown name, a `skip` that matches nothing, a density that the
        pattern does not have, samples that do not fit or are missing, or nothing to prune.
    """
    shape = pattern_called(pattern)
    density = checked_density(density, shape)
    how, allocate = named(METHODS, method, "method"), named(ALLOCATIONS, allocation, "allocation")
    pruned = model.clone()
    samples = _samples(pruned, method, calibration, reconstruct=reconstruct)
    named(dict.fromkeys(MATCHES), match, "match")
    refs = find_weights(pruned)
    reasons = reasons_to_stay(refs, skip, shape, density)
    chosen = [ref for ref in unique(refs) if reasons[ref.tensor] is None]
    shares = density_by_tensor(refs, density) if isinstance(density, Mapping) else density
    keeps = _keeps(chosen, shares, allocate, shape)
    results: dict[str, _Result] = {}
    goals = (dense or model) if match == "dense" and (how.updates or reconstruct) else None
    for layer in seen(pruned, [ref for ref in refs if ref.tensor in keeps], samples, goals):
        sparse, fitted = _pruned(layer, keeps[layer.ref.tensor], how, reconstruct=reconstruct)
        error = fitted.error(layer.matrix, sparse) if fitted else None
        layer.put(sparse, fitted)
        results[layer.ref.tensor] = _Result(int(np.count_nonzero(sparse)), error, layer.note)
        progress(len(results) / len(keeps))
    rows = tuple(_row(ref, reasons[ref.tensor], results.get(ref.tensor)) for ref in unique(refs))
    asked = density if isinstance(density, float) else None
    others = tuple(_other(value, node, why) for value, node, why in never_pruned(pruned, refs))
    return Pruned(pruned, PruneReport(asked, method, allocation, pattern, rows, others=others))


def prune_alone(
    model: ir.Model,
    densities: Sequence[float],
    tensors: Collection[str],
    *,
    method: str = "magnitude",
    pattern: str = "1x1",
    calibration: Mapping[str, np.ndarray] | None = None,
    reconstruct: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Prune each weight by itself, all others being as they are in `model`, to each density.

    The samples run once for all of them, where `prune` runs them again for what comes behind a pruned layer.

    Args:
        densities: 1 for a weight as it is; others as for `prune`.
        tensors: names of weights that `prune` can prune.
        method, pattern, calibration, reconstruct: as for `prune`.

    Returns: the weights by tensor, for each density.

    Raises: PruneError: as `prune`.
    """
    shape, how = pattern_called(pattern), named(METHODS, method, "method")
    samples = _samples(model, method, calibration, reconstruct=reconstruct)
    refs = [ref for ref in find_weights(model) if ref.tensor in tensors]
    keeps = [_keeps(unique(refs), dict.fromkeys(tensors, share), uniform, shape) for share in densities]
    found: list[dict[str, np.ndarray]] = [{} for _ in densities]
    for layer in seen(model, refs, samples, model):
        ref, dense = layer.ref, layer.matrix
        for arrays, keep in zip(found, keeps, strict=True):
            matrix = dense
            if ref.tensor in keep:
                matrix, _ = _pruned(layer, keep[ref.tensor], how, reconstruct=reconstruct)
            arrays[ref.tensor] = ref.stored(matrix)
    return found


def _samples(
    model: ir.Model, method: str, calibration: Mapping[str, np.ndarray] | None, *, reconstruct: bool
) -> Samples | None:
    """The samples, where anything is made of them."""
    samples = None if calibration is None else check_samples(model, calibration)
    if not (METHODS[method].calibrated or reconstruct):
        return None
    if samples is None:
        wanted = "reconstruct" if reconstruct else f"method {method!r}"
        raise PruneError(f"{wanted} needs calibration: samples of every input, such as a hundred of the training data")
    return samples


def pattern_called(name: str) -> Pattern:
    """The pattern of that name.

    Raises: PruneError: there is none.
    """
    pattern = parse_pattern(name)
    if pattern is None:
        raise PruneError(f"pattern {name!r} is unknown; expected a block RxQ such as 4x1 or 1x4, or N:M such as 2:4")
    return pattern


def named(registry: dict[str, T], name: str, kind: str) -> T:
    """What `registry` holds under a name.

    Raises: PruneError: nothing.
    """
    if name not in registry:
        raise PruneError(f"{kind} {name!r} is unknown; expected one of {', '.join(sorted(registry))}")
    return registry[name]


def _keeps(
    refs: Sequence[WeightRef], density: float | Mapping[str, float], allocate: Allocation, pattern: Pattern
) -> dict[str, Keep]:
    """What stays of each tensor that loses anything."""
    layers = {ref.tensor: Scored(ref.shape, pattern.reduce(magnitude(ref.matrix()), ref.window)) for ref in refs}
    counts = unit_counts(layers, density, uniform if pattern.density is not None else allocate)
    return {
        ref.tensor: Keep(counts[ref.tensor], pattern, ref.window)
        for ref in refs
        if counts[ref.tensor] < layers[ref.tensor].units
    }


@dataclass(frozen=True)
class _Result:
    nnz: int
    output_error: float | None = None
    note: str | None = None


def _pruned(layer: Seen, keep: Keep, method: Method, *, reconstruct: bool) -> tuple[np.ndarray, Moments | None]:
    """The weight [M, K] pruned, by magnitude where nothing more is known, and the moments that it fits."""
    if layer.moments is None:
        return by_magnitude(layer.matrix, keep), None
    return prune_matrix(layer.matrix, keep, method, layer.moments, reconstruct=reconstruct)


def _other(value: ir.Value, node: ir.Node, note: str) -> LayerReport:
    array = stored_array(value)
    assert array is not None
    nnz = int(np.count_nonzero(array))
    name, tensor = node.name or str(node.outputs[0].name), str(value.name)
    return LayerReport(name, node.op_type, tensor, array.shape, array.size, nnz, nnz, prunable=False, note=note)


def _row(ref: WeightRef, reason: str | None, result: _Result | None) -> LayerReport:
    note = reason or (result.note if result else None)
    if note is None and ref.density < (ARRIVED_SPARSE if ref.integers is None else ARRIVED_SPARSE_INTEGERS):
        note = f"arrived with density {ref.density:.3g}; its zeros are kept"
    nnz, error = (ref.nnz, None) if result is None else (result.nnz, result.output_error)
    return LayerReport(ref.node, ref.op, ref.tensor, ref.shape, ref.size, ref.nnz, nnz, reason is None, note, error)
