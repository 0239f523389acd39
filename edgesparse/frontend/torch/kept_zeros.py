"""Recognise how pruned PyTorch models and checkpoints keep their zeros, and write them into the weights.

Known are `torch.nn.utils.prune` (weight_orig, weight_mask), parametrizations (those of torch.ao.pruning among them),
masks as buffers beside the weight (SparseML and llm-compressor: `mask`; others: `weight_mask`), and the compressed
tensors that the latter save (`weight.bitmask`, `weight.compressed`, `weight.shape`). A recipe beside them adds nothing.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn.utils import parametrize, prune

from edgesparse.errors import FrontendError

State: TypeAlias = "Mapping[str, torch.Tensor]"

_HALVES = (torch.float16, torch.bfloat16)
_COMPRESSED = ("bitmask", "compressed", "shape", "row_offsets")
_PARAMETRIZED = re.compile(r"(?P<module>(.+\.)?)parametrizations\.(?P<name>\w+)\.(original|(?P<at>\d+)\.mask)$")


def prepared(module: torch.nn.Module) -> tuple[torch.nn.Module, bool]:
    """A form of `module` to trace: plain weights with the zeros in them, on the CPU, evaluating, no half floats.

    `module` itself stays as it is. Returns the form, and whether half floats became float32.
    """
    plain = _copied(module).cpu().eval()
    for layer in list(plain.modules()):
        for hook in [hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, prune.BasePruningMethod)]:
            prune.remove(layer, hook._tensor_name)
        for name in list(getattr(layer, "parametrizations", {})):
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for name, weight in list(layer.named_parameters(recurse=False)):
            buffers = dict(layer.named_buffers(recurse=False))
            for candidate in _mask_names(name):
                if is_mask(buffers.get(candidate), weight):
                    weight.data = weight.data * buffers[candidate]
    halved = any(tensor.dtype in _HALVES for tensor in plain.state_dict().values())
    return (plain.float() if halved else plain), halved


def load_masked(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Load a state dict into `module`, with the masks and compressed weights in it written into the weights.

    Masks of which `module` has parameters or buffers itself are loaded as such.

    Args:
        state: a state dict, or a checkpoint that holds one under "state_dict"; "module." before all names is dropped.

    Raises: FrontendError: names or shapes do not fit the module, or a mask does not fit its weight.
    """
    if isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    plain = with_zeros(state, keep=set(module.state_dict()))
    try:
        module.load_state_dict(plain)
    except RuntimeError as err:
        raise FrontendError(" ".join(f"state dict: {err}".split())) from err


def with_zeros(state: State, keep: set[str] | frozenset[str] = frozenset()) -> dict[str, torch.Tensor]:
    """A state dict as an unpruned module has it; names in `keep` stay whatever they are.

    Raises: FrontendError: a mask or a compressed weight does not fit.
    """
    plain = {name: value for name, value in state.items() if name in keep}
    rest = {name: value for name, value in state.items() if name not in keep}
    for rule in (_decompressed, _unparametrized, _unpruned):
        rest = rule(rest)
    for name, weight in {**plain, **rest}.items():
        prefix, _, leaf = name.rpartition(".")
        for candidate in _mask_names(leaf):
            mask_name = f"{prefix}.{candidate}".lstrip(".")
            if is_mask(rest.get(mask_name), weight):
                weight = weight * rest.pop(mask_name).to(weight.dtype)
                (plain if name in plain else rest)[name] = weight
    return plain | rest


def is_mask(mask: torch.Tensor | None, weight: torch.Tensor) -> bool:
    """Whether `mask` says for every element of `weight` that it stays or goes."""
    if mask is None or mask.shape != weight.shape:
        return False
    return mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all())


def _mask_names(parameter: str) -> tuple[str, ...]:
    return (f"{parameter}_mask", "mask") if parameter == "weight" else (f"{parameter}_mask",)


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """A copy that shares the values of weights: those of the copy may be replaced, but not written to."""
    memo: dict[int, Any] = {
        id(value): value.detach()  # what `prune` has computed for the backward pass cannot be copied
        for layer in module.modules()
        for value in (*vars(layer).values(), *layer.buffers(recurse=False))
        if isinstance(value, torch.Tensor)
    }
    memo |= {id(value): torch.nn.Parameter(value.detach(), requires_grad=False) for value in module.parameters()}
    copied: torch.nn.Module = copy.deepcopy(module, memo)
    return copied


def _masked(name: str, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if not is_mask(mask, weight):
        got = "other numbers" if mask.shape == weight.shape else f"shape {list(mask.shape)}"
        raise FrontendError(f"state dict: the mask of {name!r} has {got}, expected 0 and 1, shape {list(weight.shape)}")
    return weight * mask.to(weight.dtype)


def _unpruned(state: State) -> dict[str, torch.Tensor]:
    """NAME_orig and NAME_mask, as `torch.nn.utils.prune` keeps them."""
    plain = dict(state)
    for name in [name for name in state if name.endswith("_orig")]:
        base = name.removesuffix("_orig")
        if f"{base}_mask" in state:
            plain[base] = _masked(base, plain.pop(name), plain.pop(f"{base}_mask"))
    return plain


def _unparametrized(state: State) -> dict[str, torch.Tensor]:
    """parametrizations.NAME.original and .0.mask, as `torch.nn.utils.parametrize` keeps them."""
    plain: dict[str, torch.Tensor] = {}
    masks: list[tuple[str, torch.Tensor]] = []
    for name, value in state.items():
        found = _PARAMETRIZED.match(name)
        base = f"{found['module']}{found['name']}" if found else name
        if found and found["at"]:
            masks.append((base, value))
        else:
            plain[base] = value
    for base, mask in masks:
        if base not in plain:
            raise FrontendError(f"state dict: there is a mask for {base!r}, but no such weight")
        plain[base] = _masked(base, plain[base], mask)
    return plain


def _decompressed(state: State) -> dict[str, torch.Tensor]:
    """NAME.bitmask, .compressed, .shape: one bit a weight, lowest first, rows padded to bytes; nonzero values in order.

    Source: the formats "sparse-bitmask" and "sparse-24-bitmask" of https://github.com/neuralmagic/compressed-tensors
    """
    plain = dict(state)
    for name in [name for name in state if name.endswith(".bitmask")]:
        base = name.removesuffix(".bitmask")
        parts = {part: plain.pop(f"{base}.{part}", None) for part in _COMPRESSED}
        bits, values, shape = parts["bitmask"], parts["compressed"], parts["shape"]
        if bits is None or values is None or shape is None:
            raise FrontendError(f"state dict: {base!r} has a bitmask, expected .compressed and .shape beside it")
        sizes = [int(size) for size in shape]
        packed = bits.numpy().view(np.uint8)
        kept = np.unpackbits(packed, axis=-1, count=sizes[-1], bitorder="little").astype(bool)
        if kept.size != np.prod(sizes) or kept.sum() != values.numel():
            raise FrontendError(
                f"state dict: the bitmask of {base!r} keeps {kept.sum()} of {kept.size} weights, "
                f"expected {values.numel()} of shape {sizes}"
            )
        weight = torch.zeros(sizes, dtype=values.dtype)
        weight[torch.from_numpy(kept.reshape(sizes))] = values.flatten()
        plain[base] = weight
    return plain
