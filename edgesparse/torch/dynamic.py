"""Dynamic sparse training: weights that are small go, others come, and the count stays the same.

Source: Evci et al. 2019, "Rigging the Lottery: Making All Tickets Winners", arXiv:1911.11134 (RigL);
Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
network science", arXiv:1707.04780 (SET).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import cos, pi
from typing import Any

import numpy as np
import torch

from edgesparse.errors import PruneError
from edgesparse.sparsity.patterns import Block
from edgesparse.sparsity.ranking import keep_largest
from edgesparse.torch.masks import Masks


class DynamicSparsity(ABC):
    """An optimizer that also moves the connections of sparse weights.

    Use it in place of `optimizer`. Every `every` steps, until `stop`, it replaces a share of each weight's connections
    instead of stepping: those of least magnitude go, and as many come back by `growth`. Connections that are new start
    at zero, without momentum; one that goes and comes back at once stays as it was.

    Args:
        optimizer: of the parameters that `masks` cover, and any others.
        masks: already sparse, as `Masks.randomize` leaves them; blocks move as a whole.
        every: steps between updates.
        stop: step from which connections stay; three quarters of the training in the paper on RigL.
        fraction: share of the connections that the first update replaces, in (0, 1).

    Raises: PruneError: numbers out of range, or a pattern N:M, whose groups leave no room to move.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, masks: Masks, *, every: int = 100, stop: int, fraction: float = 0.3
    ) -> None:
        if not isinstance(masks.pattern, Block):
            raise PruneError(
                f"dynamic sparse training moves elements and blocks, not {masks.pattern}; use a pattern RxQ"
            )
        if every < 1 or stop < 1 or not 0.0 < fraction < 1.0:
            raise PruneError(
                "dynamic sparse training needs every >= 1, stop >= 1 and 0 < fraction < 1; "
                f"got {every}, {stop} and {fraction:g}"
            )
        self.optimizer = optimizer
        self.masks = masks
        self.every, self.stop, self.fraction = every, stop, fraction
        self.steps = 0
        self._pattern = masks.pattern
        masks.hold(optimizer)

    @abstractmethod
    def fraction_at(self, step: int) -> float:
        """Share of the connections that an update at `step` replaces."""

    @abstractmethod
    def growth(self, name: str) -> np.ndarray:
        """Score of every element of the weight `name` [M, K], not negative: what scores most grows."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the optimizer."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the optimizer's."""
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the optimizer, or, when it is time to, one update of the masks.

        Raises: PruneError: a weight without a gradient at an update: call backward first.
        """
        self.steps += 1
        if self.steps % self.every or self.steps >= self.stop:
            return self.optimizer.step(closure)
        loss = None if closure is None else closure()
        self.update()
        return loss

    def update(self) -> None:
        """Replace connections now, whatever the step."""
        moved = {name: self._moved(name) for name in self.masks}
        for name, new in moved.items():
            weight = self.masks.parameter(name)
            fresh = ~(self.masks[name] & new.to(weight.device))
            self.masks[name] = new
            with torch.no_grad():
                weight.masked_fill_(fresh, 0.0)
            for kept in self.optimizer.state.get(weight, {}).values():
                if torch.is_tensor(kept) and kept.shape == weight.shape:
                    kept.masked_fill_(fresh, 0.0)

    def _moved(self, name: str) -> torch.Tensor:
        """The mask of the weight `name` after dropping and growing."""
        weight, pattern = self.masks.weights[name], self._pattern
        kept = pattern.reduce(weight.to_matrix(self.masks[name]), weight.window) > 0
        active = int(np.count_nonzero(kept))
        moving = min(int(self.fraction_at(self.steps) * active), kept.size - active)
        magnitude = pattern.reduce(self.masks.magnitude(name), weight.window)
        stay = keep_largest(np.where(kept, magnitude, -1.0), active - moving)
        grown = keep_largest(np.where(stay, -1.0, pattern.reduce(self.growth(name), weight.window)), moving)
        return weight.from_matrix(pattern.expand(stay | grown, weight.window))

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's, and the count of steps; save the masks' next to it."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


class RigL(DynamicSparsity):
    """Grow where the gradient is largest; the share replaced falls along a cosine. See DynamicSparsity.

    Gradients of all weights, not only of connections, are needed at updates; autograd gives them, since the weights are
    dense tensors with zeros.

    Source: Evci et al. 2019, arXiv:1911.11134, algorithm 1.
    """

    def fraction_at(self, step: int) -> float:
        """Half a cosine from `fraction` down to 0 at `stop`."""
        return self.fraction / 2 * (1 + cos(pi * step / self.stop))

    def growth(self, name: str) -> np.ndarray:
        """The magnitude of the gradient."""
        gradient = self.masks.parameter(name).grad
        if gradient is None:
            raise PruneError(
                f"{name} has no gradient; RigL needs one for every masked weight: call backward before step"
            )
        scores: np.ndarray = np.abs(self.masks.weights[name].to_matrix(gradient.float()))
        return scores


class SET(DynamicSparsity):
    """Grow at random; the share replaced stays the same. See DynamicSparsity.

    Source: Mocanu et al. 2018, arXiv:1707.04780, algorithm 1.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, masks: Masks, *, seed: int = 0, **options: Any) -> None:
        super().__init__(optimizer, masks, **options)
        self._rng = np.random.default_rng(seed)

    def fraction_at(self, step: int) -> float:
        """`fraction`, always."""
        return self.fraction

    def growth(self, name: str) -> np.ndarray:
        """Random numbers."""
        weight = self.masks.weights[name]
        return self._rng.random((weight.m, weight.k))

    def state_dict(self) -> dict[str, Any]:
        """With the state of the generator of random numbers."""
        return super().state_dict() | {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        super().load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]
