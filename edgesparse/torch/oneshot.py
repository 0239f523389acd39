"""Prune a module in one shot from a few batches without labels: Wanda, SparseGPT, reconstruction.

The maths is that of `edgesparse.prune`; forward hooks see what each layer reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from edgesparse.errors import PruneError
from edgesparse.prune.allocation import ALLOCATIONS, Scored, uniform, unit_counts
from edgesparse.prune.keep import Keep
from edgesparse.prune.methods import METHODS, by_magnitude, prune_matrix
from edgesparse.prune.moments import Moments, MomentSum
from edgesparse.prune.observe import check_finite
from edgesparse.prune.prunable import checked_density
from edgesparse.prune.unfold import Convolution, Geometry, Product, Sampling
from edgesparse.prune.zeros import named
from edgesparse.torch.masks import Masks
from edgesparse.torch.matrices import CONVOLUTIONS, ModuleWeight

Batch: TypeAlias = torch.Tensor | Sequence[Any] | Mapping[str, Any]
"""What the module is called with: one tensor, arguments in order, or arguments by name."""

PASSES = 16
"""How often the batches run: each time, later layers see what was pruned before."""
MOMENT_BYTES = 1 << 30

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@dataclass(frozen=True)
class OneShot:
    """What `oneshot` made of a module.

    `masks` hold its zeros through training. `output_errors` are by weight: the mean square of the change of the layer's
    outputs over that of the outputs, on the batches; None where the layer was not seen, and pruned by magnitude.
    """

    masks: Masks
    output_errors: Mapping[str, float | None]


def oneshot(
    module: nn.Module,
    batches: Iterable[Batch],
    density: float | None = None,
    *,
    method: str = "sparsegpt",
    allocation: str = "uniform",
    pattern: str = "1x1",
    skip: Sequence[str] = (),
    reconstruct: bool = False,
) -> OneShot:
    """Put zeros into the weights of `module`, and change those that stay where the method does.

    Layers are pruned in the order in which they run, in at most 16 parts; the batches run anew for each, so that later
    layers see what was pruned before. The module runs in evaluation mode meanwhile.

    Args:
        batches: what to call the module with, without labels; a few hundred samples.
        density: share of the prunable weights that stays, in (0, 1]; None only for a pattern N:M, which fixes it.
        method: a name in `edgesparse.prune.METHODS`.
        allocation: a name in `edgesparse.prune.ALLOCATIONS`: how layers share the density, by magnitudes.
        pattern, skip: as for `Masks`.
        reconstruct: choose the values of the weights that stay anew, so that the layer's outputs change least.

    Raises: PruneError: a value out of range, an unknown name, no batches, or activations that are not finite.
    """
    masks = Masks(module, pattern=pattern, skip=skip)
    how, share = named(METHODS, method, "method"), checked_density(density, masks.pattern)
    keeps = _keeps(masks, share, named(ALLOCATIONS, allocation, "allocation"))
    kept = list(batches)
    if not kept:
        raise PruneError("no batches to prune with; give some of the training data, without labels")
    errors: dict[str, float | None] = dict.fromkeys(keeps)
    with _evaluating(module), torch.no_grad():
        watched = _Watched(module, kept, {name: masks.weights[name] for name in keeps})
        for part in watched.parts():
            for name, seen in watched.moments(part).items():
                dense = _matrix(masks, name)
                sparse, fitted = prune_matrix(dense, keeps[name], how, seen, reconstruct=reconstruct)
                errors[name] = fitted.error(dense, sparse)
                _store(masks, name, sparse)
        for name in [name for name, error in errors.items() if error is None]:
            _store(masks, name, by_magnitude(_matrix(masks, name), keeps[name]))
    return OneShot(masks, errors)


def _keeps(masks: Masks, density: Any, allocate: Any) -> dict[str, Keep]:
    """What stays of each weight that loses anything."""
    scores = {name: masks.pattern.reduce(masks.magnitude(name), of.window) for name, of in masks.weights.items()}
    layers = {name: Scored(of.shape, scores[name]) for name, of in masks.weights.items()}
    counts = unit_counts(layers, density, uniform if masks.pattern.density is not None else allocate)
    return {
        name: Keep(counts[name], masks.pattern, masks.weights[name].window)
        for name, layer in layers.items()
        if counts[name] < layer.units
    }


def _matrix(masks: Masks, name: str) -> np.ndarray:
    weight = masks.parameter(name).detach()
    return masks.weights[name].to_matrix(weight if weight.dtype == torch.float64 else weight.float())


def _store(masks: Masks, name: str, matrix: np.ndarray) -> None:
    weight = masks.parameter(name)
    weight.copy_(masks.weights[name].from_matrix(matrix))
    masks[name] = weight != 0


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


class _Watched:
    """The layers of a module that read `weights`, and what they read when the batches run."""

    def __init__(self, module: nn.Module, batches: Sequence[Batch], weights: Mapping[str, ModuleWeight]) -> None:
        self.module, self.batches, self.weights = module, batches, weights
        self._layers: dict[str, list[nn.Module]] = {name: [] for name in weights}
        names = {id(module.get_parameter(name)): name for name in weights}
        for layer in module.modules():
            for parameter in layer.parameters(recurse=False):
                if id(parameter) in names and _sees(layer):
                    self._layers[names[id(parameter)]].append(layer)
        self._sizes = [_size(batch) for batch in batches]

    def parts(self) -> list[list[str]]:
        """Weights in the order in which they run first, cut into parts that are pruned together."""
        order: dict[str, None] = {}
        self._run(self.weights, lambda name, *_: order.setdefault(name))
        each = max(1, -(-len(order) // PASSES))
        parts: list[list[str]] = [[]]
        for name in order:
            needed = sum(self.weights[other].k ** 2 * 8 for other in (*parts[-1], name))
            if parts[-1] and (len(parts[-1]) == each or needed > MOMENT_BYTES):
                parts.append([])
            parts[-1].append(name)
        return parts

    def moments(self, part: Sequence[str]) -> dict[str, Moments]:
        """What the batches say of the inputs of each weight."""
        sums: dict[str, list[MomentSum]] = {}

        def see(name: str, layer: nn.Module, at: int, operands: list[torch.Tensor]) -> None:
            rows = [_rows(layer, x, self._sampling(at)) for x in operands]
            for total, x in zip(sums.setdefault(name, [MomentSum(*x.shape[::2]) for x in rows]), rows, strict=True):
                total.add(x)

        self._run(part, see)
        seconds = {
            name: np.concatenate([MomentSum.mean([of]).second for of in totals]) for name, totals in sums.items()
        }
        for name, second in seconds.items():
            check_finite(name, second)
        return {name: Moments(second) for name, second in seconds.items()}

    def _sampling(self, at: int) -> Sampling:
        return Sampling(sum(self._sizes), sum(self._sizes[:at]), self._sizes[at])

    def _run(self, names: Iterable[str], see: Callable[..., Any]) -> None:
        """Call `see(name, layer, at, operands)` whenever a layer with one of the weights runs, on batch number `at`."""
        at = 0

        def hook(name: str) -> Callable[..., None]:
            return lambda layer, args, kwargs: see(name, layer, at, _operands(layer, args, kwargs))

        pairs = [(name, layer) for name in names for layer in self._layers[name]]
        handles = [layer.register_forward_pre_hook(hook(name), with_kwargs=True) for name, layer in pairs]
        try:
            for at, batch in enumerate(self.batches):  # noqa: B007
                _call(self.module, batch)
        finally:
            for handle in handles:
                handle.remove()


def _sees(layer: nn.Module) -> bool:
    return isinstance(layer, (*CONVOLUTIONS, nn.Linear, nn.MultiheadAttention))


def _operands(layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """What the weight of a layer is multiplied with: the ranges of rows of an attention read three tensors."""
    names = ("query", "key", "value") if isinstance(layer, nn.MultiheadAttention) else ("input",)
    return [args[at] if at < len(args) else kwargs[name] for at, name in enumerate(names)]


def _rows(layer: Any, x: torch.Tensor, sampling: Sampling) -> np.ndarray:
    """Inputs at each output position, [G, P, K]."""
    array = (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
    geometry: Geometry = Product()
    if isinstance(layer, CONVOLUTIONS):
        geometry = _convolution(layer)
        array = array[None] if array.ndim == len(layer.kernel_size) + 1 else array
    return geometry.rows(array, sampling)


def _convolution(layer: Any) -> Convolution:
    spans = [dilation * (size - 1) for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    pads = {"same": [(span // 2, span - span // 2) for span in spans], "valid": [(0, 0)] * len(spans)}
    given = layer.padding
    return Convolution(
        kernel=layer.kernel_size,
        strides=layer.stride,
        dilations=layer.dilation,
        pads=tuple(pads[given] if isinstance(given, str) else [(size, size) for size in given]),
        groups=layer.groups,
        pad_mode=PAD_MODES[layer.padding_mode],  # type: ignore[arg-type]
    )


def _call(module: nn.Module, batch: Batch) -> None:
    if isinstance(batch, torch.Tensor):
        module(batch)
    elif isinstance(batch, Mapping):
        module(**batch)
    else:
        module(*batch)


def _size(batch: Batch) -> int:
    """Samples in a batch: the first axis of its first tensor."""
    values = [batch] if isinstance(batch, torch.Tensor) else batch.values() if isinstance(batch, Mapping) else batch
    return next((max(1, len(value)) for value in values if isinstance(value, torch.Tensor) and value.ndim), 1)
