"""Put channels in an order that suits a pattern N:M or blocks, in all layers that they couple: outputs stay the same.

Source: Pool and Yu 2021, "Channel Permutations for N:M Sparsity", NeurIPS 2021.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgesparse.errors import PruneError
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.order import Neighbours, Strongest, Together, best_order
from edgesparse.prune.prunable import prunable
from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.constants import take_constants
from edgesparse.prune.structured.flow import Flow, FlowLayer
from edgesparse.prune.structured.follow import follow
from edgesparse.prune.zeros import pattern_called
from edgesparse.sparsity.patterns import Block, NofM, Pattern
from edgesparse.sparsity.weights import WeightRef, find_weights

LEAST_GAIN = 1e-4
ROUNDING = 1e-9


@dataclass(frozen=True)
class Permuted:
    """A model in which channels have changed places; by node, what share of magnitude each layer keeps more, and that
    in words."""

    model: ir.Model
    gains: dict[str, float]
    notes: dict[str, str]


def permute(
    model: ir.Model,
    pattern: str | Mapping[str, str],
    *,
    skip: Sequence[str] = (),
    calibration: Mapping[str, np.ndarray] | None = None,
) -> Permuted:
    """Return a copy of `model` that computes the same, with channels in an order under which zeros cost less magnitude.

    Channels change places where all that they pass through is understood, and only if no layer keeps less by it.

    Args:
        pattern: N:M, such as "2:4", or blocks of neighbouring input channels, such as "1x4". Or a pattern for each
            layer by the name of its node. Output channels that share a block stay in their order.
        skip: shell patterns on names of layers that are not going to be pruned; not used for patterns by name.
        calibration: samples by input name, for a model that cannot run on made-up inputs.

    Raises: PruneError: the pattern has no neighbouring input channels, a `skip` matches nothing, the samples do not
        fit, or ONNX Runtime cannot run the model.
    """
    permuted = model.clone()
    patterns = _patterns(find_weights(permuted), pattern, skip)
    flow = follow(permuted, calibration, resizes=False)
    _hold(flow, patterns)
    roots = flow.atoms.roots()
    taken, gains, notes = np.arange(len(roots)), dict[str, float](), dict[str, str]()
    for channels in _channels(flow, roots, patterns):
        order, found = channels.best()
        if min(found.values()) >= -ROUNDING and max(found.values()) > LEAST_GAIN:
            taken[channels.roots] = channels.roots[order]
            gains |= found
            notes |= {
                node: f"channels reordered: keeps {gain:.1%} {channels.neighbours.told}" for node, gain in found.items()
            }
    take_constants(flow, lambda labels: _indices(roots[labels], taken))
    return Permuted(permuted, gains, notes)


def check_permute(patterns: Sequence[str]) -> None:
    """Check that there is a pattern to find an order for.

    Raises: PruneError: none of them has neighbouring input channels.
    """
    if all(_neighbours(pattern_called(pattern)) is None for pattern in patterns):
        raise PruneError(
            f"permute is for patterns of neighbouring input channels such as 2:4 or 1x4; got {' and '.join(patterns)}: "
            "leave it out"
        )


def _neighbours(pattern: Pattern | None) -> Neighbours | None:
    """What a pattern keeps of neighbouring input channels; None where their order does not matter."""
    if isinstance(pattern, NofM):
        return Strongest(pattern.n, pattern.m)
    return Together(pattern.columns) if isinstance(pattern, Block) and pattern.columns > 1 else None


def _rows(pattern: Pattern | None) -> int:
    """Output channels that share a block."""
    return pattern.rows if isinstance(pattern, Block) else 1


@dataclass(frozen=True)
class _Channels:
    """Channels that can change places, in the order in which layers that are pruned by `pattern` read them.

    `readers` are the weights of those layers by node, as magnitudes [channels, elements], summed over rows of a block.
    """

    roots: Labels
    pattern: Pattern
    neighbours: Neighbours
    readers: dict[str, np.ndarray] = field(default_factory=dict)

    def best(self) -> tuple[np.ndarray, dict[str, float]]:
        """An order, and by node what share of magnitude each layer keeps more."""
        kept = self.neighbours.kept
        shares = {name: scores / max(float(scores.sum()), 1e-30) for name, scores in self.readers.items()}
        order = best_order(np.concatenate(list(shares.values()), axis=1), self.neighbours)
        before = {name: kept(share) for name, share in shares.items()}
        return order, {
            name: kept(share[order]) / before[name] - 1.0 if before[name] else 0.0 for name, share in shares.items()
        }


def _patterns(
    refs: Sequence[WeightRef], pattern: str | Mapping[str, str], skip: Sequence[str]
) -> dict[ir.Node, Pattern]:
    """The pattern of each layer that is going to be pruned."""
    if isinstance(pattern, str):
        check_permute([pattern])
        shape = pattern_called(pattern)
        return {ref.source: shape for ref in prunable(refs, skip, shape)}
    return {ref.source: pattern_called(pattern[ref.node]) for ref in refs if ref.node in pattern}


def _hold(flow: Flow, patterns: Mapping[ir.Node, Pattern]) -> None:
    """Keep the channels of constants that are not one operator's own, and output channels that share a block."""
    for use in flow.uses:
        value = use.value
        if value.name not in flow.model.graph.initializers or len(value.uses()) > 1 or value.is_graph_output():
            for labels in use.labels:
                flow.freeze(labels, "something else depends on its constants")
    for layer in flow.layers:
        if _rows(patterns.get(layer.node)) > 1:
            flow.freeze(flow.axes(layer.node.outputs[0])[layer.made], f"{layer.name} gets blocks")


def _channels(flow: Flow, roots: Labels, patterns: Mapping[ir.Node, Pattern]) -> list[_Channels]:
    """Channels that can change places and are whole groups of a pattern for all layers that read them."""
    axes = _axes(flow, roots)
    found: dict[tuple[int, ...], _Channels] = {}
    mixed = set()
    for layer in flow.layers:
        pattern, read = patterns.get(layer.node), flow.axes(layer.data)[layer.axis]
        neighbours = _neighbours(pattern)
        if pattern is None or neighbours is None or read is None:
            continue
        places = defaultdict(list)
        for at, root in enumerate(roots[read].tolist()):
            if root in axes:
                places[axes[root]].append(at)
        for key, indices in places.items():
            chosen = np.array(indices)
            channels = found.setdefault(key, _Channels(roots[read[chosen]], pattern, neighbours))
            whole = bool((np.unique(chosen // neighbours.m, return_counts=True)[1] == neighbours.m).all())
            if whole and channels.pattern == pattern and np.array_equal(channels.roots, roots[read[chosen]]):
                channels.readers[layer.name] = _magnitudes(flow, layer, read, _rows(pattern))[chosen]
            else:
                mixed.add(key)
    return [channels for key, channels in found.items() if key not in mixed]


def _axes(flow: Flow, roots: Labels) -> dict[int, tuple[int, ...]]:
    """For each channel that may move and lies at most once on every axis: the axes along which it lies.

    Those of activations count, not only those of constants: half of the channels may be all that a sum adds up.
    """
    axes = defaultdict(list)
    for at, labels in enumerate(flow.orders()):
        for root in roots[labels].tolist():
            axes[root].append(at)
    return {
        root: tuple(along)
        for root, along in axes.items()
        if flow.atoms.frozen(root) is None and len(set(along)) == len(along)
    }


def _magnitudes(flow: Flow, layer: FlowLayer, read: Labels, rows: int) -> np.ndarray:
    """Magnitudes of a weight, summed over so many neighbouring outputs, [channels, elements]."""
    array = flow.known(layer.weight.value)
    assert array is not None
    axis = next(at for at, labels in enumerate(layer.weight.labels) if labels is read)
    scores = magnitude(np.moveaxis(array, axis, 0))
    sums: np.ndarray = scores.reshape(len(read), scores.shape[1] // rows, rows, -1).sum(axis=2)
    return sums.reshape(len(read), -1)


def _indices(labels: Labels, taken: Labels) -> np.ndarray:
    """Indices that reorder an axis with these `labels`, so that each gives its place to the one `taken` for it."""
    index = np.arange(len(labels))
    places = np.zeros(len(taken), np.int64)
    places[labels] = index
    return np.where(taken[labels] == labels, index, places[taken[labels]])
