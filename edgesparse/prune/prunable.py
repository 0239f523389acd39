"""Choose which weights of a model are pruned, and say of every other why it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir

from edgesparse.errors import PruneError, first_few
from edgesparse.sparsity.patterns import Pattern
from edgesparse.sparsity.stored import stored_array
from edgesparse.sparsity.weights import FLOATS, WEIGHT_INPUT, WeightRef, readers

Density = float | Mapping[str, float] | None
"""Over all prunable weights, by the name of a node, or left to the pattern."""

NAMES_SHOWN = 30
SAME_DENSITY = 0.005
"""How far a density may be from the one that a pattern fixes: 0.667 is meant for 2:3."""
LEAST_WEIGHT = 256
"""Elements of a constant from which on it is named as a weight."""
OF_NO_LAYER = {
    "LSTM": "recurrent weights",
    "GRU": "recurrent weights",
    "RNN": "recurrent weights",
    "Gather": "a table of Gather",
}
"""Why weights stay that are no layer's, by the operator that reads them."""
BY_CUSTOM = ("first convolution", "depthwise convolution")
"""Reasons to stay dense that a density by name overrules."""


def checked_density(density: Density, pattern: Pattern) -> float | dict[str, float]:
    """`density` in range, and the pattern's own where it fixes one.

    Raises: PruneError: none is given or fixed, it is not in (0, 1], or it is not the pattern's.
    """
    if density is None:
        if pattern.density is None:
            raise PruneError(f"pattern {pattern} does not say how many weights stay; give a density (--sparsity)")
        return pattern.density
    if isinstance(density, Mapping):
        return {name: 1.0 if share == 1.0 else _share(share, pattern, f"{name}: ") for name, share in density.items()}
    return _share(density, pattern, "")


def _share(density: float, pattern: Pattern, where: str) -> float:
    if not 0.0 < density <= 1.0:
        raise PruneError(f"{where}density must be above 0 and at most 1 (sparsity 0 up to below 1); got {density:g}")
    if pattern.density is None:
        return float(density)
    if abs(density - pattern.density) > SAME_DENSITY:
        raise PruneError(
            f"{where}pattern {pattern} has sparsity {1 - pattern.density:.3g}, got {1 - density:.3g}; leave it out"
        )
    return pattern.density


def reasons_to_stay(
    refs: Sequence[WeightRef], skip: Sequence[str], pattern: Pattern, density: float | Mapping[str, float]
) -> dict[str, str | None]:
    """Why each tensor stays as it is, or None; one that several layers share must be prunable in all of them.

    Raises: PruneError: `skip` or the names of `density` match no layer, a layer that is named cannot be pruned, or
        none can.
    """
    named = set(density) if isinstance(density, Mapping) else None
    reasons = _reasons(refs, skip, pattern, named)
    if None not in reasons.values():
        raise PruneError(f"no layer can be pruned: {_why_none(reasons)}")
    return reasons


def prunable(refs: Sequence[WeightRef], skip: Sequence[str], pattern: Pattern) -> list[WeightRef]:
    """The layers among `refs` that a density over all layers prunes.

    Raises: PruneError: `skip` matches no layer.
    """
    reasons = _reasons(refs, skip, pattern, None)
    return [ref for ref in refs if reasons[ref.tensor] is None]


def _reasons(
    refs: Sequence[WeightRef], skip: Sequence[str], pattern: Pattern, named: set[str] | None
) -> dict[str, str | None]:
    _check_names(refs, skip, named or ())
    tensors = {ref.tensor for ref in refs if named is not None and ref.node in named}
    reasons: dict[str, str | None] = {}
    for ref in refs:
        reason = _reason(ref)
        if any(_matches(ref, text) for text in skip):
            reason = "skipped by name"
        elif named is not None:
            reason = _of_named(ref, reason) if ref.tensor in tensors else "no density by its name"
        reasons[ref.tensor] = reasons.get(ref.tensor) or reason or pattern.misfit(ref.m, ref.k, ref.window)
    return reasons


def never_pruned(model: ir.Model, refs: Sequence[WeightRef]) -> Iterator[tuple[ir.Value, ir.Node, str]]:
    """Weights that are no layer's among `refs`: each with the first node that reads it, and why it stays."""
    known = {ref.tensor for ref in refs}
    for value in model.graph.initializers.values():
        array = None if value.name in known or value.dtype not in FLOATS else stored_array(value)
        if array is None or array.ndim < 2 or array.size < LEAST_WEIGHT:
            continue
        reader = next(iter(readers(value)), None)
        if reader is not None:
            yield value, reader, OF_NO_LAYER.get(reader.op_type, f"{reader.op_type} reads it")


def _check_names(refs: Sequence[WeightRef], skip: Sequence[str], named: Sequence[str] | set[str]) -> None:
    nodes = [ref.node for ref in refs]
    there = f"there are {first_few(nodes, NAMES_SHOWN)}"
    for text in skip:
        if not any(_matches(ref, text) for ref in refs):
            raise PruneError(f"--skip {text!r} matches no layer; {there}")
    for name in sorted(named):
        if name not in nodes:
            raise PruneError(f"density of {name!r}: no such layer; {there}")


def _matches(ref: WeightRef, text: str) -> bool:
    return fnmatchcase(ref.node, text) or fnmatchcase(ref.tensor, text)


def _reason(ref: WeightRef) -> str | None:
    """Why a layer should not be pruned, whatever the options say."""
    if ref.quantized and ref.integers is None:
        return f"quantized ({ref.dtype}) in a way that cannot be pruned"
    if ref.first_conv:
        return "first convolution"
    if ref.depthwise:
        return "depthwise convolution"
    other = next((node.op_type for node in readers(ref.value) if node.op_type not in WEIGHT_INPUT), None)
    if other is not None:
        return f"shared with {other}"
    return "a model output" if ref.value.is_graph_output() else None


def _of_named(ref: WeightRef, reason: str | None) -> str | None:
    if reason is None or reason in BY_CUSTOM:
        return None
    raise PruneError(f"density of {ref.node!r}: the layer cannot be pruned: {reason}")


def _why_none(reasons: Mapping[str, str | None]) -> str:
    if not reasons:
        return "the model has no convolution or product with constant weights"
    return "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:NAMES_SHOWN])


def density_by_tensor(refs: Sequence[WeightRef], density: Mapping[str, float]) -> dict[str, float]:
    """`density` by the name of a node as density by tensor.

    Raises: PruneError: two layers share a tensor, and are given different densities.
    """
    shares: dict[str, float] = {}
    for ref in refs:
        share = density.get(ref.node)
        if share is None:
            continue
        if shares.setdefault(ref.tensor, share) != share:
            raise PruneError(
                f"density of {ref.node!r}: got {share:g}, but the layer shares its weight with one that is to have "
                f"{shares[ref.tensor]:g}; give them the same density"
            )
    return shares
