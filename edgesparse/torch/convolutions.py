"""Operators that slide a window: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch.nn import functional as F

from edgesparse.torch.node_args import attribute, optional


def _padded(node: ir.Node, x: torch.Tensor, kernel: Sequence[int], value: float = 0.0) -> torch.Tensor:
    """`x` with the pads of a window, of whatever kind."""
    rank, strides = len(kernel), attribute(node, "strides", [1] * len(kernel))
    dilations = attribute(node, "dilations", [1] * rank)
    auto = attribute(node, "auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        pads = []
        for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads.append((total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2))
    else:
        flat = attribute(node, "pads", [0] * (2 * rank))
        pads = list(zip(flat[:rank], flat[rank:], strict=True))
    return F.pad(x, [size for pair in reversed(pads) for size in pair], value=value) if any(map(any, pads)) else x


def conv(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    """Conv, with pads of any kind."""
    x, w, bias = inputs[0], inputs[1], optional(inputs, 2)
    rank = w.dim() - 2
    run = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return run(
        _padded(node, x, w.shape[2:]),
        w,
        bias,
        stride=attribute(node, "strides", [1] * rank),
        dilation=attribute(node, "dilations", [1] * rank),
        groups=attribute(node, "group", 1),
    )


def conv_transpose(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    """ConvTranspose, where its pads are given."""
    if node.attributes.keys() & {"auto_pad", "output_shape"}:
        raise NotImplementedError
    x, w, bias = inputs[0], inputs[1], optional(inputs, 2)
    rank = w.dim() - 2
    run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    steps, apart = (attribute(node, name, [1] * rank) for name in ("strides", "dilations"))
    y = run(x, w, stride=steps, dilation=apart, groups=attribute(node, "group", 1))
    pads, more = attribute(node, "pads", [0] * (2 * rank)), attribute(node, "output_padding", [0] * rank)
    margins = [size for at in reversed(range(rank)) for size in (-pads[at], more[at] - pads[rank + at])]
    y = F.pad(y, margins)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def max_pool(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    """MaxPool, without the places of the largest."""
    kernel = attribute(node, "kernel_shape")
    run = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    x = _padded(node, inputs[0], kernel, -torch.inf)
    options = {"stride": attribute(node, "strides", [1] * len(kernel)), "dilation": attribute(node, "dilations", 1)}
    return run(x, kernel, ceil_mode=bool(attribute(node, "ceil_mode", 0)), **options)


def average_pool(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    """AveragePool, rounding down; padding counts where it is said to."""
    kernel = attribute(node, "kernel_shape")
    if attribute(node, "ceil_mode", 0) or any(size > 1 for size in attribute(node, "dilations", ())):
        raise NotImplementedError
    run = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    strides = attribute(node, "strides", [1] * len(kernel))
    x = inputs[0]
    y = run(_padded(node, x, kernel), kernel, strides)
    if attribute(node, "count_include_pad", 0):
        return y
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    return y / run(_padded(node, ones, kernel), kernel, strides)
