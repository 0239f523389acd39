"""Recover a pruned network without labels: masks fixed, all else fitted to the dense network's blocks by gradients.

Source: Kurtic et al. 2023, "Sparse Fine-tuning for Inference Acceleration of Large Language Models", arXiv:2310.06927,
whose loss compares normalised hidden states; without its terms on labels and logits' divergence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from edgesparse.prune.samples import check_samples
from edgesparse.prune.seen import store
from edgesparse.prune.zeros import named
from edgesparse.torch.augment import AUGMENTATIONS
from edgesparse.torch.batches import Batches, parted
from edgesparse.torch.fit import Fit, fitted
from edgesparse.torch.network import Values

WARM_UP = 10
RATE = 0.01  # of a tensor, over the root of the mean square of its nonzeros
LEAST_RMS = 1e-3
CHECKS = 16  # how often the samples held out say which state is best


@dataclass(frozen=True)
class Recovered:
    """A model, the error of its outputs on the samples held out, before and after, and the `steps` it took.

    The error is the mean square of what outputs differ by from the dense ones, over the variance of these.
    """

    model: ir.Model
    error_before: float
    error_after: float
    steps: int


def recover(
    sparse: ir.Model,
    dense: ir.Model,
    calibration: Mapping[str, np.ndarray],
    *,
    held_out: Mapping[str, np.ndarray] | None = None,
    seconds: float = 120.0,
    seed: int = 0,
    augment: Sequence[str] = (),
    progress: Callable[[float], object] = lambda share: None,
    clock: Callable[[], float] = time.monotonic,
) -> Recovered:
    """Fit the weights that are not zero, and the biases, to what the dense network computes.

    The loss is the mean over blocks of the squared error over the mean square of the dense network's output, plus the
    error of the outputs over their variance. A block ends where a residual is added; in a network without residuals, at
    each layer with weights. Of one that has lost channels, those count that are left. Of the states on the way, the one
    is taken whose outputs err least on samples held out.

    Args:
        sparse, dense: a model after and before pruning; what they share has the same names.
        calibration: samples by input name, as `check_samples` wants them.
        held_out: samples that choose the best state; none that pruning fitted the weights to, since these favour
            the state that it made. By default an eighth of `calibration`.
        seconds: how long it may take, by `clock`.
        augment: names in AUGMENTATIONS: what is done to inputs of four axes before both networks see them.
        progress: called with the share of the time that is over.

    Raises: PruneError: the models are not of one network, an operator has no torch function or gives something else
        than in ONNX Runtime, or the samples do not fit.
    """
    functions = [named(AUGMENTATIONS, name, "augment") for name in augment]
    check_samples(sparse, calibration)
    batches = Batches(*parted(dense, calibration, held_out), seed, functions)
    fit = Fit.between(sparse, dense, batches)
    weights, offsets = fitted(fit.student.graph)
    trained = {name: fit.student.parameters[name].requires_grad_() for name in (*weights, *offsets)}
    masks = {name: trained[name].detach() != 0 for name in weights}
    optimizer = torch.optim.Adam([_group(tensor) for tensor in trained.values()], betas=(0.9, 0.99))
    best = _Best(before := fit.held_out(batches), _copied(trained))
    started, steps, checks = clock(), 0, 1
    while (share := (clock() - started) / seconds) < 1.0:
        _step(optimizer, fit, batches, min(1.0, (steps + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share)))
        with torch.no_grad():
            for name, mask in masks.items():
                trained[name].mul_(mask)
        steps += 1
        if share >= checks / CHECKS:
            checks += 1
            best = best.or_else(fit.held_out(batches), trained)
            progress(share)
    best = best.or_else(fit.held_out(batches), trained)
    return Recovered(_with(sparse, best.state), before, best.error, steps)


def _step(optimizer: torch.optim.Optimizer, fit: Fit, batches: Batches, scale: float) -> None:
    """One step of the optimiser, at a share of each tensor's own rate."""
    for group in optimizer.param_groups:
        group["lr"] = scale * group["rate"]
    optimizer.zero_grad()
    for feeds in batches.step():
        fit.loss(feeds).backward()
    optimizer.step()


def _group(parameter: torch.Tensor) -> dict[str, object]:
    """An optimiser's group of one tensor, with its own rate."""
    held = parameter.detach()
    nonzero = held[held != 0]
    rms = float(nonzero.square().mean().sqrt()) if nonzero.numel() else 0.0
    return {"params": [parameter], "rate": RATE * max(rms, LEAST_RMS)}


@dataclass(frozen=True)
class _Best:
    """The state with the least error so far."""

    error: float
    state: Values

    def or_else(self, error: float, trained: Values) -> _Best:
        """This one, or that of `trained` if its error is less."""
        return _Best(error, _copied(trained)) if error < self.error else self


def _copied(tensors: Values) -> Values:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _with(model: ir.Model, state: Values) -> ir.Model:
    """A copy of a model with other constants."""
    copy = model.clone()
    values = {**copy.graph.initializers, **{str(value.name): value for node in copy.graph for value in node.outputs}}
    for name, tensor in state.items():
        store(values[name], tensor.numpy())
    return copy
