"""Groups: the units of one dimension of a model, each of which may go, and what that takes from every layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd, prod

import numpy as np

from edgesparse.errors import PruneError
from edgesparse.prune.structured.flow import Flow, name_of

KINDS = ("channels", "heads", "neurons")

Place = tuple[int, int]
"""A layer, and an axis of its weight."""


@dataclass(frozen=True)
class Group:
    """Units that lie along exactly the same axes. A unit is a set of coupled atoms, by the atom that stands for it.

    `taken` says how many indices one unit takes at each place; `width` is the least of those. `note` says why all stay.
    """

    name: str
    kind: str
    units: np.ndarray
    taken: dict[Place, int]
    width: int
    note: str | None

    def counts(self, multiple: int) -> list[int]:
        """Numbers of units that may stay, falling: all, and those that make multiples of `multiple`."""
        step = multiple // gcd(multiple, self.width)
        return [len(self.units), *range((len(self.units) - 1) // step * step, 0, -step)]


class Sizes:
    """Sizes of the weights of all layers, which shrink as units go."""

    def __init__(self, flow: Flow) -> None:
        shapes = [flow.shape(layer.weight.value) for layer in flow.layers]
        self.positions = [layer.positions for layer in flow.layers]
        self.sizes = [list(shape) for shape in shapes]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(self.macs_of(layer) for layer in range(len(self.sizes)))

    def macs_of(self, layer: int) -> int:
        """Multiply-accumulates of one layer."""
        return self.positions[layer] * prod(self.sizes[layer])

    def parameters(self, layers: Iterable[int]) -> int:
        """Elements of the weights of these layers."""
        return sum(prod(self.sizes[layer]) for layer in layers)

    def saved(self, group: Group, units: int) -> int:
        """Multiply-accumulates that go with `units` of a group."""
        layers = {layer for layer, _ in group.taken}
        before = sum(self.macs_of(layer) for layer in layers)
        self.take(group, units)
        after = sum(self.macs_of(layer) for layer in layers)
        self.take(group, -units)
        return before - after

    def take(self, group: Group, units: int) -> None:
        """Remove so many units of a group."""
        for (layer, axis), taken in group.taken.items():
            self.sizes[layer][axis] -= taken * units


def find_groups(flow: Flow, kinds: Sequence[str], skip: Sequence[str]) -> list[Group]:
    """Every dimension that a node of the model makes, in the order of the graph.

    Raises: PruneError: a pattern in `skip` names no layer.
    """
    _skip(flow, skip)
    roots = flow.atoms.roots()
    made = defaultdict(list)
    for at, axis in enumerate(flow.made):
        for root in np.unique(roots[axis.start : axis.start + axis.count]).tolist():
            made[root].append(at)
    places = _places(flow, roots)
    members = defaultdict(list)
    for root in sorted(made):
        taken = places.get(root, {})
        members[(tuple(made[root]), tuple(taken.items()), flow.atoms.frozen(root), flow.atoms.is_head(root))].append(
            root
        )
    groups = []
    for (axes, items, note, heads), units in members.items():
        taken = dict(items)
        kind = _kind(flow, taken, heads)
        if note is None:
            note = (
                "no layer has weights along it" if not taken else None if kind in kinds else f"{kind} are not asked for"
            )
        name = name_of(flow.made[axes[0]].node)
        groups.append(Group(name, kind, np.array(units), taken, min(taken.values(), default=1), note))
    return groups


def _places(flow: Flow, roots: np.ndarray) -> dict[int, dict[Place, int]]:
    """How many indices of each place belong to each set of atoms."""
    places: dict[int, dict[Place, int]] = defaultdict(dict)
    for at, layer in enumerate(flow.layers):
        for axis, labels in enumerate(layer.weight.labels):
            if labels is not None:
                for root, count in zip(*np.unique(roots[labels], return_counts=True), strict=True):
                    places[int(root)][at, axis] = int(count)
    return places


def _kind(flow: Flow, taken: dict[Place, int], heads: bool) -> str:
    if any("Conv" in flow.layers[layer].node.op_type for layer, _ in taken):
        return "channels"
    return "heads" if heads else "neurons"


def _skip(flow: Flow, skip: Sequence[str]) -> None:
    for pattern in skip:
        matching = [
            layer
            for layer in flow.layers
            if fnmatchcase(layer.name, pattern) or fnmatchcase(str(layer.weight.value.name), pattern)
        ]
        if not matching:
            raise PruneError(f"skip {pattern!r} matches no layer; `edgesparse inspect` lists their names")
        for layer in matching:
            for labels in layer.weight.labels:
                flow.freeze(labels, f"skip {pattern!r}")
