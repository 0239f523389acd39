"""Gradual pruning: from dense to sparse over a range of training steps, along a cubic.

Source: Zhu and Gupta 2017, "To prune, or not to prune", arXiv:1710.01878.
"""

from __future__ import annotations

from typing import Any

from edgesparse.errors import PruneError
from edgesparse.torch.masks import Masks


def cubic_density(step: int, *, begin: int, end: int, final: float, initial: float = 1.0) -> float:
    """Density after `step` steps: `initial` up to `begin`, `final` from `end` on, falling fast first and then slowly.

    Source: Zhu and Gupta 2017, equation 1, which speaks of sparsity, 1 - density.
    """
    left = 1.0 - min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * left**3


class GradualPruning:
    """Prune `masks` further every `every` steps from `begin` to `end`; call `step` after each step of the optimizer.

    Args:
        density: at the end, in (0, 1].
        begin: first step that prunes.
        end: last step that prunes, above `begin`.
        initial: density at the beginning.
        allocation: how layers share the density, as in `Masks.prune`.

    Raises: PruneError: densities or steps out of range, or a pattern of fixed density.
    """

    def __init__(
        self,
        masks: Masks,
        density: float,
        *,
        begin: int = 0,
        end: int,
        every: int = 1,
        initial: float = 1.0,
        allocation: str = "uniform",
    ) -> None:
        if masks.pattern.density is not None:
            raise PruneError(f"pattern {masks.pattern} fixes the density; call Masks.prune once instead")
        if not 0.0 < density <= initial <= 1.0:
            raise PruneError(f"gradual pruning needs 0 < density <= initial <= 1; got {density:g} and {initial:g}")
        if not (0 <= begin < end and every >= 1):
            raise PruneError(f"gradual pruning needs 0 <= begin < end and every >= 1; got {begin}, {end} and {every}")
        self.masks = masks
        self.density = density
        self.begin, self.end, self.every = begin, end, every
        self.initial = initial
        self.allocation = allocation
        self.steps = 0

    def step(self) -> None:
        """Count one step, and prune where it is time to."""
        self.steps += 1
        if self.begin <= self.steps <= self.end and (
            (self.steps - self.begin) % self.every == 0 or self.steps == self.end
        ):
            density = cubic_density(
                self.steps, begin=self.begin, end=self.end, final=self.density, initial=self.initial
            )
            self.masks.prune(density, allocation=self.allocation)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, next to the state of the masks."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.steps = state["steps"]
