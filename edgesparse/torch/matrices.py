"""Find the weights of a module that can hold zeros, and see each as the matrix of y[M, N] = w[M, K] @ x[K, N]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesparse.errors import PruneError, first_few

NAMES_SHOWN = 30
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED, nn.Linear), "weight") | {nn.MultiheadAttention: "in_proj_weight"}
"""Modules that hold weights, and the name of the parameter."""


@dataclass(frozen=True)
class ModuleWeight:
    """One weight of a module; `reason` says why it stays dense, None that it can be pruned."""

    name: str  # of the parameter, as `named_parameters` spells it
    shape: tuple[int, ...]
    m: int
    k: int
    window: int  # places of a convolution's window: the inner axis of K; 1 for a product
    group: int  # of a transposed convolution; else 1
    transposed: bool  # stored as [K, M / group, window]
    reason: str | None

    @property
    def size(self) -> int:
        """Elements of the weight."""
        return prod(self.shape)

    def to_matrix(self, tensor: torch.Tensor) -> np.ndarray:
        """`tensor`, shaped like the weight, as an array [M, K]."""
        array: np.ndarray = tensor.detach().cpu().numpy()
        if self.transposed:
            grouped = array.reshape(self.group, self.shape[0] // self.group, self.shape[1], -1)
            array = grouped.swapaxes(1, 2)
        return array.reshape(self.m, self.k)

    def from_matrix(self, matrix: np.ndarray) -> torch.Tensor:
        """The inverse of `to_matrix`, as a tensor on the CPU."""
        if self.transposed:
            grouped = matrix.reshape(self.group, self.shape[1], self.shape[0] // self.group, -1)
            matrix = grouped.swapaxes(1, 2)
        return torch.from_numpy(np.ascontiguousarray(matrix.reshape(self.shape)))


def find_weights(module: nn.Module, skip: Sequence[str] = ()) -> list[ModuleWeight]:
    """Every weight of `module` that convolutions, linear layers or attention multiply with, in order of definition.

    As for ONNX models, the first convolution, depthwise convolutions, and weights that another kind of layer shares
    stay dense; so do weights that are not parameters, as parametrizations and `torch.nn.utils.prune` leave them.

    Args: skip: shell patterns on names of layers or parameters that stay dense.

    Raises: PruneError: a pattern of `skip` matches nothing.
    """
    readers = _readers(module)
    found: dict[int, ModuleWeight] = {}
    unmatched = set(skip)
    first_conv = next((name for name, layer in module.named_modules() if isinstance(layer, CONVOLUTIONS)), None)
    for name, layer in module.named_modules():
        attribute = next((WEIGHTED[kind] for kind in WEIGHTED if isinstance(layer, kind)), None)
        weight = getattr(layer, attribute, None) if attribute else None
        if attribute is None or weight is None:
            continue
        full = f"{name}.{attribute}" if name else attribute
        reason = _reason(layer, attribute, weight, readers, is_first=name == first_conv)
        matching = {text for text in skip if fnmatchcase(name, text) or fnmatchcase(full, text)}
        if matching:
            reason, unmatched = "skipped by name", unmatched - matching
        seen = found.get(id(weight))
        if seen is None:
            found[id(weight)] = _describe(full, layer, weight, reason)
        elif reason is not None and seen.reason is None:
            found[id(weight)] = _describe(seen.name, layer, weight, reason)
    if unmatched:
        there = first_few([weight.name for weight in found.values()], NAMES_SHOWN)
        raise PruneError(f"skip {min(unmatched)!r} matches no layer; there are the weights {there}")
    return list(found.values())


def _readers(module: nn.Module) -> dict[int, set[type]]:
    """The kinds of modules that own each parameter, by its identity."""
    kinds: dict[int, set[type]] = {}
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            kinds.setdefault(id(parameter), set()).add(type(layer))
    return kinds


def _reason(layer: Any, attribute: str, weight: Any, readers: dict[int, set[type]], *, is_first: bool) -> str | None:
    if attribute not in layer._parameters:
        return "computed, not a parameter: remove the parametrization or torch.nn.utils.prune first"
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return "not initialised: run the module once first"
    if not weight.is_floating_point():
        return f"quantized ({weight.dtype})"
    if is_first:
        return "first convolution"
    if isinstance(layer, CONVOLUTIONS + TRANSPOSED) and layer.groups > 1 and _inputs(layer) == 1:
        return "depthwise convolution"
    other = next((kind for kind in readers.get(id(weight), ()) if not issubclass(kind, tuple(WEIGHTED))), None)
    return None if other is None else f"shared with {other.__name__}"


def _inputs(layer: Any) -> int:
    """Input channels of each group of a convolution."""
    return int(layer.in_channels // layer.groups)


def _describe(name: str, layer: Any, weight: Any, reason: str | None) -> ModuleWeight:
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return ModuleWeight(name, (), 0, 0, 1, 1, False, reason)
    shape = tuple(weight.shape)
    window = prod(shape[2:])
    if isinstance(layer, TRANSPOSED):
        return ModuleWeight(
            name, shape, shape[1] * layer.groups, window * _inputs(layer), window, layer.groups, True, reason
        )
    return ModuleWeight(name, shape, shape[0], prod(shape[1:]), window, 1, False, reason)
