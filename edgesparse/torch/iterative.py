"""Prune and train in turns: plain, or rewinding the weights each time, which finds lottery tickets.

Source: Han et al. 2015, "Learning both Weights and Connections", arXiv:1506.02626 (prune and retrain);
Frankle and Carbin 2018, "The Lottery Ticket Hypothesis", arXiv:1803.03635 (rewinding to the initialisation);
Frankle et al. 2019, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", arXiv:1912.05671 (to step k).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from edgesparse.errors import PruneError
from edgesparse.torch.masks import Masks


class Rewind:
    """The state of a module at one moment, to go back to: at initialisation, or after k steps of training."""

    def __init__(self, module: nn.Module) -> None:
        self._state = copy.deepcopy(module.state_dict())

    def restore(self, masks: Masks) -> None:
        """Set the module of `masks` back to that moment, with zeros where they say so."""
        masks.module.load_state_dict(self._state)
        masks.apply()


def iterative_pruning(
    masks: Masks,
    densities: Sequence[float],
    train: Callable[[Masks], None],
    *,
    rewind: Rewind | None = None,
    allocation: str = "global",
) -> Iterator[float]:
    """Train, then for each density: prune the trained weights to it by magnitude, rewind if asked, and train again.

    Yields the density after every training, 1 first, so that the caller can evaluate and save.

    Args:
        densities: falling, in (0, 1).
        train: trains the module of the masks with an optimizer of its own that holds them (`Masks.hold`), from the
            learning rate of that moment on where weights are rewound.
        rewind: the state that weights go back to after pruning; None trains on with what they are.

    Raises: PruneError: densities that do not fall, or out of range.
    """
    if any(later >= sooner for sooner, later in zip((1.0, *densities), densities, strict=False)):
        raise PruneError(f"densities must fall from below 1; got {', '.join(f'{density:g}' for density in densities)}")
    train(masks)
    yield masks.density
    for density in densities:
        masks.prune(density, allocation=allocation)
        if rewind is not None:
            rewind.restore(masks)
        train(masks)
        yield masks.density
