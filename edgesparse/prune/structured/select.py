"""Choose the units that go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgesparse.prune.structured.groups import Group, Sizes

LEVEL = 1e-9
"""The weight of the other loss, which decides where a curve is level."""

Loss = Callable[[int, int], float]
"""What is lost as the first of two numbers of units that are gone becomes the second."""


@dataclass
class _Queue:
    """The units of a group in the order in which they go, and how many of them have gone."""

    group: Group
    order: np.ndarray
    losing: Loss
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
        """What is lost with them."""
        return self.losing(self.gone, self.gone + self.block())

    def take(self) -> None:
        """Let them go."""
        self.gone += self.block()
        self.counts = self.counts[1:]


def share_of_rest(group: Group, importance: np.ndarray) -> Loss:
    """Loss as the share of the importance left in the group, in the order of the units, once for each layer.

    So groups compare whatever their scale, a residual sum that many layers read does not go first for the work in all
    of them, and the fewer units are left the more each is worth.
    """
    left = np.cumsum(importance[::-1])[::-1]
    layers = len({layer for layer, _ in group.taken})

    def loss(gone: int, then: int) -> float:
        total = float(left[gone])
        rest = float(left[then]) if then < len(left) else 0.0
        return (total - rest) / total * layers if total > 0 else 0.0

    return loss


def rise(curve: np.ndarray, otherwise: Loss) -> Loss:
    """Loss as what `curve`, by the number of units gone, rises by; where it is level, some other loss decides."""
    return lambda gone, then: float(curve[then] - curve[gone]) + LEVEL * otherwise(gone, then)


def select(
    groups: Sequence[Group],
    orders: Sequence[np.ndarray],
    losses: Sequence[Loss],
    sizes: Sizes,
    removed: float,
    multiple: int,
) -> list[np.ndarray]:
    """Choose units until a share `removed` of the multiply-accumulates is gone, as closely as whole blocks permit.

    The block goes next that loses the least for the work it saves.

    Args: orders: indices of the units of each group, the first to go first.

    Returns: the units of each group that go, by atoms.
    """
    total, target = sizes.macs, removed * sizes.macs
    queues = [
        _Queue(group, order, loss, group.counts(multiple))
        for group, order, loss in zip(groups, orders, losses, strict=True)
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
