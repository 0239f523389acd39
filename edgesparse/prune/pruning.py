"""Put zeros into the weights of an ONNX model; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Layer
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.report import LayerReport, PruneReport
from edgesparse.prune.select import keep_largest
from edgesparse.sparsity.patterns import Block, parse_pattern
from edgesparse.sparsity.weights import WEIGHT_INPUT, WeightRef, find_weights, readers

Method = Callable[[np.ndarray], np.ndarray]
"""Scores every element of a weight matrix [M, K]; what scores lowest goes first."""

METHODS: dict[str, Method] = {"magnitude": magnitude}

NAMES_SHOWN = 30
ARRIVED_SPARSE = 0.99

T = TypeVar("T")


@dataclass(frozen=True)
class Pruned:
    """A pruned model and what was done to it."""

    model: ir.Model
    report: PruneReport


def prune(
    model: ir.Model,
    density: float,
    *,
    method: str = "magnitude",
    allocation: str = "uniform",
    pattern: str = "1x1",
    skip: Sequence[str] = (),
) -> Pruned:
    """Return a copy of `model` in which a share `density` of the prunable weights is left.

    Convolutions and products with constant float weights are prunable, but for the first convolution, depthwise
    convolutions, tensors that other operators read, and what `skip` names. Zeros that are there already stay zeros.

    Args:
        density: kept weights over all prunable ones, in (0, 1], met exactly where no layer is sparser already.
        method: a name in METHODS: which weights go first.
        allocation: a name in ALLOCATIONS: how layers share the density.
        pattern: block RxQ whose elements go together.
        skip: shell patterns on node or tensor names.

    Raises: PruneError: a value out of range, an unknown name, a `skip` that matches nothing, or nothing to prune.
    """
    if not 0.0 < density <= 1.0:
        raise PruneError(f"density must be above 0 and at most 1 (sparsity 0 up to below 1); got {density:g}")
    score, allocate = _named(METHODS, method, "method"), _named(ALLOCATIONS, allocation, "allocation")
    block = parse_pattern(pattern)
    if block is None:
        raise PruneError(f"pattern {pattern!r} is unknown; expected a block RxQ such as 1x1, 4x1 or 1x4")
    pruned = model.clone()
    refs = find_weights(pruned)
    _check_skips(refs, skip)
    reasons = _reasons(refs, skip, block)
    chosen = {ref.tensor: ref for ref in refs if reasons[ref.tensor] is None}
    if not chosen:
        raise PruneError(f"no layer can be pruned: {_why_none(reasons)}")
    nnz = _apply(list(chosen.values()), density, score, allocate, block)
    rows = tuple(_row(ref, reasons[ref.tensor], nnz.get(ref.tensor, ref.nnz)) for ref in _unique(refs))
    return Pruned(pruned, PruneReport(density, method, allocation, pattern, rows))


def _named(registry: dict[str, T], name: str, kind: str) -> T:
    if name not in registry:
        raise PruneError(f"{kind} {name!r} is unknown; expected one of {', '.join(sorted(registry))}")
    return registry[name]


def _check_skips(refs: Sequence[WeightRef], skip: Sequence[str]) -> None:
    for text in skip:
        if not any(_matches(ref, text) for ref in refs):
            names = [ref.node for ref in refs]
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            raise PruneError(f"--skip {text!r} matches no layer; there are {', '.join(names[:NAMES_SHOWN])}{more}")


def _matches(ref: WeightRef, text: str) -> bool:
    return fnmatchcase(ref.node, text) or fnmatchcase(ref.tensor, text)


def _reasons(refs: Sequence[WeightRef], skip: Sequence[str], block: Block) -> dict[str, str | None]:
    """Why each tensor stays dense, or None; a tensor that several layers share must be prunable in all of them."""
    reasons: dict[str, str | None] = {}
    for ref in refs:
        reason = _reason(ref, skip, block)
        reasons[ref.tensor] = reasons.get(ref.tensor) or reason
    return reasons


def _reason(ref: WeightRef, skip: Sequence[str], block: Block) -> str | None:
    if any(_matches(ref, text) for text in skip):
        return "skipped by name"
    if ref.quantized:
        return f"quantized ({ref.dtype})"
    if ref.first_conv:
        return "first convolution"
    if ref.depthwise:
        return "depthwise convolution"
    other = next((node.op_type for node in readers(ref.value) if node.op_type not in WEIGHT_INPUT), None)
    if other is not None:
        return f"shared with {other}"
    if ref.value.is_graph_output():
        return "a model output"
    return block.misfit(ref.m, ref.k)


def _why_none(reasons: dict[str, str | None]) -> str:
    if not reasons:
        return "the model has no convolution or product with constant weights"
    return "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:NAMES_SHOWN])


def _apply(
    refs: Sequence[WeightRef],
    density: float,
    score: Method,
    allocate: Callable[[Sequence[Layer], float], list[int]],
    block: Block,
) -> dict[str, int]:
    """Prune the tensors behind `refs`; returns what is left nonzero in each."""
    layers = [Layer(ref.shape, block.reduce(score(ref.to_matrix(ref.array())))) for ref in refs]
    nnz: dict[str, int] = {}
    for ref, layer, count in zip(refs, layers, allocate(layers, density), strict=True):
        if count == layer.units:
            continue
        array = ref.array()
        mask = ref.from_matrix(block.expand(keep_largest(layer.scores, count)))
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
