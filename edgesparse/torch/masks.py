"""Masks over the weights of a module: which may be nonzero, held while an optimizer trains the rest.

The weights stay ordinary parameters and hold true zeros, so that checkpoints, copies and exports need to know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Scored
from edgesparse.prune.magnitude import magnitude
from edgesparse.prune.prunable import checked_density
from edgesparse.sparsity.patterns import parse_pattern
from edgesparse.tables import Part, Report, Table, shape_text
from edgesparse.torch.matrices import NAMES_SHOWN, find_weights


class Masks(Report):
    """One mask for every prunable weight of `module`, true where a weight may be nonzero; at first all of them.

    Args:
        module: its parameters are looked up by name each time, so that it may move to another device.
        pattern: a block RxQ whose elements go together, or N:M along the input channels.
        skip: shell patterns on names of layers or parameters that stay dense.

    Raises: PruneError: an unknown pattern, a `skip` that matches nothing, or nothing to prune.
    """

    def __init__(self, module: nn.Module, *, pattern: str = "1x1", skip: Sequence[str] = ()) -> None:
        parsed = parse_pattern(pattern)
        if parsed is None:
            raise PruneError(f"pattern {pattern!r} is unknown; expected a block RxQ such as 4x1, or N:M such as 2:4")
        found = find_weights(module, skip)
        reasons = {weight.name: weight.reason or parsed.misfit(weight.m, weight.k, weight.window) for weight in found}
        self.module = module
        self.pattern = parsed
        self.dense = {name: reason for name, reason in reasons.items() if reason is not None}
        """Weights that stay as they are, and why."""
        self.weights = {weight.name: weight for weight in found if reasons[weight.name] is None}
        if not self.weights:
            listed = "; ".join(f"{name}: {reason}" for name, reason in list(self.dense.items())[:NAMES_SHOWN])
            raise PruneError(f"no layer can be pruned: {listed or 'the module has no convolution or linear layer'}")
        self._masks = {name: torch.ones_like(self.parameter(name), dtype=torch.bool) for name in self.weights}

    @classmethod
    def from_zeros(cls, module: nn.Module, *, skip: Sequence[str] = ()) -> Masks:
        """Masks that hold the zeros which the weights of `module` have now."""
        masks = cls(module, skip=skip)
        for name in masks.weights:
            masks._masks[name] = masks.parameter(name).detach() != 0
        return masks

    def __getitem__(self, name: str) -> torch.Tensor:
        """The mask of the weight `name`, on the device of the weight."""
        mask, device = self._masks[name], self.parameter(name).device
        if mask.device != device:
            mask = self._masks[name] = mask.to(device)
        return mask

    def __setitem__(self, name: str, mask: torch.Tensor) -> None:
        """Replace the mask of the weight `name`; `apply` makes it felt."""
        shape = self.weights[name].shape
        if mask.dtype != torch.bool or tuple(mask.shape) != shape:
            got = f"{mask.dtype} of shape {list(mask.shape)}"
            raise PruneError(f"mask of {name}: got {got}; expected torch.bool of shape {list(shape)}")
        self._masks[name] = mask.to(self.parameter(name).device)

    def __iter__(self) -> Iterator[str]:
        """Names of the weights."""
        return iter(self.weights)

    def parameter(self, name: str) -> nn.Parameter:
        """The weight `name` itself."""
        return self.module.get_parameter(name)

    def magnitude(self, name: str) -> np.ndarray:
        """Absolute values of the weight `name` [M, K]."""
        return magnitude(self.weights[name].to_matrix(_wide(self.parameter(name))))

    def parts(self) -> Iterator[Part]:
        """A row a weight, and the density of all."""
        rows = [(name, shape_text(self.weights[name].shape), f"{share:.3f}") for name, share in self.densities.items()]
        yield Table(("weight", "shape", "density"), rows)
        yield f"density {self.density:.3f} of the prunable weights; {len(self.dense)} others stay as they are"

    @property
    def density(self) -> float:
        """Share of the prunable weights that may be nonzero."""
        kept = sum(int(mask.count_nonzero()) for mask in self._masks.values())
        return kept / sum(weight.size for weight in self.weights.values())

    @property
    def densities(self) -> dict[str, float]:
        """The same for each weight."""
        return {name: int(mask.count_nonzero()) / mask.numel() for name, mask in self._masks.items()}

    def prune(
        self,
        density: float | None = None,
        *,
        allocation: str = "uniform",
        scores: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Keep a share `density` of the prunable weights, those that score most; what is masked already stays so.

        Args:
            density: in (0, 1]; None only for a pattern N:M, which fixes it.
            allocation: a name in `edgesparse.prune.ALLOCATIONS`: how layers share the density.
            scores: by name, shaped like the weights, not negative; without them, magnitude.

        Raises: PruneError: a value out of range, an unknown allocation, or scores that do not fit.
        """
        chosen = {name: self.magnitude(name) if scores is None else self._given(name, scores) for name in self}
        kept = {name: self.weights[name].to_matrix(mask) for name, mask in self._masks.items()}
        self._choose(density, allocation, {name: np.where(kept[name], of, 0.0) for name, of in chosen.items()})

    def randomize(self, density: float, *, allocation: str = "erk", seed: int = 0) -> None:
        """Keep a random share `density` of the prunable weights: where sparse training from scratch starts.

        Raises: PruneError: as in `prune`.
        """
        rng = np.random.default_rng(seed)
        drawn = {name: rng.random((of.m, of.k), dtype=np.float32) for name, of in self.weights.items()}
        self._masks = {name: torch.ones_like(mask) for name, mask in self._masks.items()}
        self._choose(density, allocation, drawn)

    def apply(self) -> None:
        """Put zeros where the masks are false."""
        with torch.no_grad():
            for name in self:
                self.parameter(name).masked_fill_(~self[name], 0.0)

    def apply_to_gradients(self) -> None:
        """Put zeros into the gradients where the masks are false."""
        for name in self:
            gradient = self.parameter(name).grad
            if gradient is not None:
                gradient.masked_fill_(~self[name], 0.0)

    def hold(self, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        """Keep the zeros through every `optimizer.step()`, momentum and weight decay included.

        Gradients are masked before the step, so that momentum does not gather where weights are zero, and weights after
        it. An optimizer that is copied or restored by pickling forgets this. Returns a function that ends it.

        Raises: PruneError: the optimizer trains none of the masked weights.
        """
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if not any(id(self.parameter(name)) in trained for name in self):
            raise PruneError(
                "the optimizer trains none of the masked weights; make it from parameters of the same module"
            )
        self.apply()
        before = optimizer.register_step_pre_hook(lambda *_: self.apply_to_gradients())
        after = optimizer.register_step_post_hook(lambda *_: self.apply())

        def release() -> None:
            before.remove()
            after.remove()

        return release

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The masks by name, to be saved next to the module's own state."""
        return {name: mask.clone() for name, mask in self._masks.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over masks from `state_dict` and apply them.

        Raises: PruneError: a name, a shape or a type does not fit.
        """
        missing, unknown = sorted(set(self.weights) - set(state)), sorted(set(state) - set(self.weights))
        if missing or unknown:
            wrong = f"there is none for {missing[0]}" if missing else f"{unknown[0]} has none"
            raise PruneError(
                f"masks do not fit the module: {wrong}; load them with the pattern and skip they were made with"
            )
        for name, mask in state.items():
            self[name] = mask.clone()
        self.apply()

    def _given(self, name: str, scores: Mapping[str, torch.Tensor]) -> np.ndarray:
        given = scores.get(name)
        shape = self.weights[name].shape
        if given is None or tuple(given.shape) != shape:
            got = "none" if given is None else f"shape {list(given.shape)}"
            raise PruneError(f"scores of {name}: got {got}; expected a tensor of shape {list(shape)}")
        if not bool((given >= 0).all()):
            raise PruneError(f"scores of {name}: some are negative or not a number; expected the least to be 0 or more")
        return self.weights[name].to_matrix(_wide(given))

    def _choose(self, density: float | None, allocation: str, scores: Mapping[str, np.ndarray]) -> None:
        share = checked_density(density, self.pattern)
        assert isinstance(share, float)
        if allocation not in ALLOCATIONS:
            known = ", ".join(sorted(ALLOCATIONS))
            raise PruneError(f"allocation {allocation!r} is unknown; expected one of {known}")
        weights = list(self.weights.values())
        layers = [Scored(weight.shape, self.pattern.reduce(scores[weight.name], weight.window)) for weight in weights]
        for weight, count in zip(weights, ALLOCATIONS[allocation](layers, share), strict=True):
            kept = weight.from_matrix(self.pattern.mask(scores[weight.name], count, weight.window))
            self[weight.name] = self[weight.name] & kept.to(self[weight.name].device)
        self.apply()


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` in a type that numpy has."""
    return tensor.detach() if tensor.dtype in (torch.float32, torch.float64) else tensor.detach().float()
