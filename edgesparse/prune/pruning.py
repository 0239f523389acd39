"""Put zeros into the weights of an ONNX model; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Allocation, Layer, uniform, unit_counts
from edgesparse.prune.choose import Density, checked_density, density_by_tensor, reasons_to_stay
from edgesparse.prune.keep import Keep
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.methods import METHODS, Method, by_magnitude, prune_matrix
from edgesparse.prune.observe import Operand, operand_of, second_moments
from edgesparse.prune.report import LayerReport, PruneReport
from edgesparse.prune.samples import Samples, check_samples
from edgesparse.sparsity.patterns import Pattern, parse_pattern
from edgesparse.sparsity.weights import WeightRef, find_weights

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
    reconstruct: bool = False,
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

    Raises: PruneError: a value out of range, an unknown name, a `skip` that matches nothing, a density that the
        pattern does not have, samples that do not fit or are missing, or nothing to prune.
    """
    shape = pattern_called(pattern)
    density = checked_density(density, shape)
    how, allocate = named(METHODS, method, "method"), named(ALLOCATIONS, allocation, "allocation")
    pruned = model.clone()
    samples = None if calibration is None else check_samples(pruned, calibration)
    if samples is None and (how.calibrated or reconstruct):
        wanted = "reconstruct" if reconstruct else f"method {method!r}"
        raise PruneError(f"{wanted} needs calibration: samples of every input, such as a hundred of the training data")
    refs = find_weights(pruned)
    reasons = reasons_to_stay(refs, skip, shape, density)
    chosen = [ref for ref in _unique(refs) if reasons[ref.tensor] is None]
    shares = density_by_tensor(refs, density) if isinstance(density, Mapping) else density
    keeps = _keeps(chosen, shares, allocate, shape)
    results = _Layers(pruned, refs, keeps, how, reconstruct).prune(samples)
    rows = tuple(_row(ref, reasons[ref.tensor], results.get(ref.tensor)) for ref in _unique(refs))
    asked = density if isinstance(density, float) else None
    return Pruned(pruned, PruneReport(asked, method, allocation, pattern, rows))


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
    layers = {ref.tensor: Layer(ref.shape, pattern.reduce(magnitude(ref.to_matrix(ref.array())))) for ref in refs}
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


@dataclass(frozen=True)
class _Layers:
    """The layers of `model` that are to be pruned, by the tensors in `keeps`."""

    model: ir.Model
    refs: Sequence[WeightRef]
    keeps: Mapping[str, Keep]
    method: Method
    reconstruct: bool

    def prune(self, samples: Samples | None) -> dict[str, _Result]:
        """Prune, by magnitude where nothing more is known; what became of each tensor."""
        refs = {ref.tensor: ref for ref in _unique(self.refs) if ref.tensor in self.keeps}
        unseen: dict[str, str | None] = dict.fromkeys(refs)
        results: dict[str, _Result] = {}
        if samples is not None and (self.method.calibrated or self.reconstruct):
            operands, unseen = self._operands()
            for seconds in second_moments(self.model, samples, operands):
                results |= {tensor: self._by_method(refs[tensor], second) for tensor, second in seconds.items()}
        return results | {tensor: self._by_magnitude(refs[tensor], note) for tensor, note in unseen.items()}

    def _operands(self) -> tuple[dict[str, list[Operand]], dict[str, str | None]]:
        """What the layers of each tensor read, and of which tensors that cannot be said."""
        operands: dict[str, list[Operand]] = {}
        unseen: dict[str, str | None] = {}
        for ref in self.refs:
            if ref.tensor not in self.keeps:
                continue
            found = operand_of(ref, self.model.graph)
            if isinstance(found, str):
                unseen[ref.tensor] = f"by magnitude: {found}"
            else:
                operands.setdefault(ref.tensor, []).append(found)
        return {tensor: of for tensor, of in operands.items() if tensor not in unseen}, unseen

    def _by_method(self, ref: WeightRef, second: np.ndarray) -> _Result:
        dense, keep = ref.to_matrix(ref.array()), self.keeps[ref.tensor]
        sparse, error = prune_matrix(dense, keep, self.method, second, reconstruct=self.reconstruct)
        _store(ref.value, ref.from_matrix(sparse))
        return _Result(int(np.count_nonzero(sparse)), error)

    def _by_magnitude(self, ref: WeightRef, note: str | None) -> _Result:
        sparse = by_magnitude(ref.to_matrix(ref.array()), self.keeps[ref.tensor])
        _store(ref.value, ref.from_matrix(sparse))
        return _Result(int(np.count_nonzero(sparse)), note=note)


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


def _row(ref: WeightRef, reason: str | None, result: _Result | None) -> LayerReport:
    note = reason or (result.note if result else None)
    if note is None and ref.density < ARRIVED_SPARSE:
        note = f"arrived with density {ref.density:.3g}; its zeros are kept"
    nnz, error = (ref.nnz, None) if result is None else (result.nnz, result.output_error)
    return LayerReport(ref.node, ref.op, ref.tensor, ref.shape, ref.size, ref.nnz, nnz, reason is None, note, error)
