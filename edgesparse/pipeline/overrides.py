"""Options for single layers: which layer a shell pattern means, and what is left to prune for all others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from glob import escape
from typing import TYPE_CHECKING

from edgesparse.errors import PruneError

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.pipeline.pruning import LayerOptions, Pruning
    from edgesparse.prune import PruneReport

NAMES_SHOWN = 30


def by_node(model: ir.Model, layers: Mapping[str, LayerOptions]) -> dict[str, LayerOptions]:
    """The options of every layer that a pattern of `layers` names; the first that matches counts.

    Raises: PruneError: a pattern matches no layer.
    """
    from edgesparse.sparsity.weights import find_weights

    refs = find_weights(model) if layers else []
    for text in layers:
        if not any(fnmatchcase(ref.node, text) or fnmatchcase(ref.tensor, text) for ref in refs):
            names = ", ".join(ref.node for ref in refs[:NAMES_SHOWN])
            raise PruneError(f"layers: {text!r} matches no layer; there are {names}")
    found: dict[str, LayerOptions] = {}
    for ref in refs:
        first = next((text for text in layers if fnmatchcase(ref.node, text) or fnmatchcase(ref.tensor, text)), None)
        if first is not None:
            found[ref.node] = layers[first]
    return found


def densities_by_pattern(options: Mapping[str, LayerOptions], pruning: Pruning) -> dict[str, dict[str, float]]:
    """Density by node of the layers with options of their own, for each pattern of zeros among them.

    Raises: PruneError: nothing says how much of a layer to prune.
    """
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for node, own in options.items():
        if own.get("skip"):
            continue
        pattern = own.get("pattern", pruning.pattern)
        sparsity = own.get("sparsity", pruning.sparsity)
        groups[pattern][node] = _density(node, pattern, sparsity)
    return dict(groups)


def _density(node: str, pattern: str, sparsity: float | None) -> float:
    from edgesparse.sparsity.patterns import parse_pattern

    if sparsity is not None:
        return 1.0 - sparsity
    shape = parse_pattern(pattern)
    if shape is None or shape.density is None:
        raise PruneError(f"layers: {node!r} has no sparsity of its own, and there is none for all; give one of them")
    return shape.density


def merged(first: PruneReport | None, second: PruneReport) -> PruneReport:
    """One report of two passes over the same model: each layer as the pass left it that pruned it."""
    if first is None:
        return second
    rows = zip(first.layers, second.layers, strict=True)
    return replace(first, layers=tuple(later if later.prunable else earlier for earlier, later in rows))


def names_of(nodes: Mapping[str, object]) -> tuple[str, ...]:
    """Shell patterns that match exactly these names."""
    return tuple(map(escape, nodes))
