"""Choose the units that go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.prune.structured.groups import Group, Sizes


@dataclass
class _Queue:
    """The units of a group, the least important first, and how many of them have gone."""

    group: Group
    order: np.ndarray
    importance: np.ndarray
    counts: list[int]
    gone: int = 0

    @property
    def layers(self) -> set[int]:
        """The layers that lose them."""
        return {layer for layer, _ in self.group.taken}

    def block(self) -> int:
        """How many units go next; 0 if the rest must stay."""
        return len(self.order) - self.counts[1] - self.gone if len(self.counts) > 1 else 0

    def loss(self) -> float:
        """Share of the group's remaining importance that goes with them, over all its layers."""
        left = self.importance[self.order[self.gone :]]
        total = float(left.sum())
        share = float(left[: self.block()].sum()) / total if total > 0 else 0.0
        return share * len(self.layers)

    def take(self) -> None:
        """Let them go."""
        self.gone += self.block()
        self.counts = self.counts[1:]


def select(
    groups: list[Group], importance: list[np.ndarray], sizes: Sizes, removed: float, multiple: int
) -> list[np.ndarray]:
    """Choose units until a share `removed` of the multiply-accumulates is gone, as closely as whole blocks permit.

    The block goes next that loses the least importance for the work it saves. Its importance is its share of what is
    left in its group, once for each layer that loses it: so groups compare whatever their scale, a residual sum that
    many layers read does not go first for the work in all of them, and the fewer units are left the more each is worth.

    Returns: the units of each group that go, by atoms.
    """
    total, target = sizes.macs, removed * sizes.macs
    queues = [
        _Queue(group, np.argsort(values, kind="stable"), values, group.counts(multiple))
        for group, values in zip(groups, importance, strict=True)
    ]
    saved = [sizes.saved(queue.group, queue.block()) for queue in queues]
    near = False  # to the target, where how well a block fits counts
    while True:
        missing = target - (total - sizes.macs)
        open_ = [at for at, queue in enumerate(queues) if saved[at]]
        if not open_:
            break
        best = min(open_, key=lambda at: queues[at].loss() / saved[at])
        near = near or saved[best] > missing
        if near:
            best = min(open_, key=lambda at: abs(saved[at] - missing))
        if abs(saved[best] - missing) >= abs(missing):
            break
        sizes.take(queues[best].group, queues[best].block())
        queues[best].take()
        for at, queue in enumerate(queues):
            if queue.layers & queues[best].layers:
                saved[at] = sizes.saved(queue.group, queue.block())
    return [queue.group.units[queue.order[: queue.gone]] for queue in queues]
