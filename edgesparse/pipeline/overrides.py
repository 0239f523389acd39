"""Options for single layers: which layers a shell pattern means, and what to ask `edgesparse.prune` for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from glob import escape
from typing import TYPE_CHECKING, Any

from edgesparse.errors import PruneError, first_few

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.pipeline.options import LayerOptions
from edgesparse.pipeline.settings import Pruning

NAMES_SHOWN = 30


def passes(model: ir.Model, pruning: Pruning) -> Iterator[tuple[float | dict[str, float] | None, dict[str, Any]]]:
    """Density and options of each call of `edgesparse.prune.prune` that `pruning` takes.

    The layers without options of their own share a call; those with some share one for each pattern of zeros.

    Raises: PruneError: a pattern on names matches no layer, or nothing says how much to prune.
    """
    from edgesparse.prune import pattern_called, prunable
    from edgesparse.sparsity.weights import find_weights

    how = pruning.options
    own = by_node(model, how["layers"])
    named = _densities(own, pruning)
    pattern = pattern_called(how["pattern"])
    skip = (*how["skip"], *map(escape, own))
    if how["sparsity"] is None and pattern.density is None and not named:
        raise PruneError("layers: they only leave layers dense; give sparsity for the others")
    if how["sparsity"] is not None or pattern.density is not None:
        density = None if how["sparsity"] is None else 1.0 - how["sparsity"]
        if not named or prunable(find_weights(model), skip, pattern):
            yield (
                density,
                {"allocation": how["allocation"], "pattern": how["pattern"], "skip": skip},
            )
    for name, densities in named.items():
        yield densities, {"pattern": name}


def patterns(model: ir.Model, pruning: Pruning) -> dict[str, str]:
    """The pattern of zeros by node, of every layer that `pruning` prunes.

    Raises: PruneError: as for `passes`.
    """
    from edgesparse.prune import pattern_called, prunable
    from edgesparse.sparsity.weights import find_weights

    refs = find_weights(model)
    found: dict[str, str] = {}
    for density, how in passes(model, pruning):
        if isinstance(density, dict):
            nodes = [node for node, share in density.items() if share < 1.0]
        else:
            nodes = [ref.node for ref in prunable(refs, how["skip"], pattern_called(how["pattern"]))]
        found |= dict.fromkeys(nodes, how["pattern"])
    return found


def by_node(model: ir.Model, layers: Mapping[str, LayerOptions]) -> dict[str, LayerOptions]:
    """The options of every layer that a pattern of `layers` matches; the first that matches counts.

    What nobody prunes, such as a first convolution, matches its whole name only.

    Raises: PruneError: a pattern matches no layer.
    """
    from edgesparse.prune import pattern_called, prunable
    from edgesparse.sparsity.weights import find_weights

    refs = find_weights(model) if layers else []
    usual = {ref.node for ref in prunable(refs, (), pattern_called("1x1"))}
    found: dict[str, LayerOptions] = {}
    for text, options in layers.items():
        matches = [
            ref.node
            for ref in refs
            if text in (ref.node, escape(ref.node))
            or (ref.node in usual and (fnmatchcase(ref.node, text) or fnmatchcase(ref.tensor, text)))
        ]
        if not matches:
            names = first_few([ref.node for ref in refs], NAMES_SHOWN)
            raise PruneError(f"layers: {text!r} matches no layer that can be pruned; there are {names}")
        for node in matches:
            found.setdefault(node, options)
    return found


def _densities(own: Mapping[str, LayerOptions], pruning: Pruning) -> dict[str, dict[str, float]]:
    """Density by node of the layers with options of their own, for each pattern of zeros among them."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for node, options in own.items():
        if not options.get("skip"):
            pattern = options.get("pattern", pruning.options["pattern"])
            groups[pattern][node] = _density(node, pattern, options.get("sparsity"), pruning.options["sparsity"])
    return dict(groups)


def _density(node: str, pattern: str, own: float | None, shared: float | None) -> float:
    """By the layer's own sparsity, else by its pattern, else by the sparsity of all."""
    from edgesparse.prune import pattern_called

    fixed = pattern_called(pattern).density
    if own is None and fixed is not None:
        return fixed
    sparsity = shared if own is None else own
    if sparsity is None:
        raise PruneError(f"layers: {node!r} has no sparsity of its own, and there is none for all; give one of them")
    return 1.0 - sparsity
