"""Layers of small integers as dot products take them: K counts quads, which are words of four input channels at a tap.

The quads of a convolution are ordered (tap, channel quad); channels that fill the last quad up have weights of zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.graph.geometry import Plane, Window
from edgesparse.graph.layers import Layer
from edgesparse.nodes import shape_of
from edgesparse.numerics import QUAD, Numerics

LARGEST_BYTE = 255  # of x, whatever its sign


@dataclass(frozen=True, eq=False)
class QuadsLayer(Layer):
    """A layer whose weight is words [groups * M, K]; x is words too, and its sizes count them."""

    @property
    def weight(self) -> np.ndarray:  # type: ignore[override]  # stored as it is read
        """See `Layer`."""
        return self._stored

    @property
    def by_tap(self) -> bool:  # type: ignore[override]  # of no other order
        """See `Layer`."""
        return True


def quads_layer(node: ir.Node, window: Window | None, weight: np.ndarray, numerics: Numerics) -> Layer | None:
    """A Conv or MatMul of small integers as a layer on quads.

    Args:
        window: of the Conv, in channels; None for a MatMul.
        weight: int8, [M, C / groups, *kernel] of the Conv, or [..., K, M] of the MatMul.

    None where a group begins or ends inside a quad, or where sums might leave int32.
    """
    if weight.size == 0 or 0 in shape_of(node.inputs[0]) or 0 in shape_of(node.outputs[0]):
        return None
    layer = _linear(node, weight, numerics) if window is None else _convolution(node, window, weight, numerics)
    if layer is None or _largest_sum(layer.weight) >= 1 << 30:  # half of int32 is left for the bias
        return None
    return layer


def _linear(node: ir.Node, weight: np.ndarray, numerics: Numerics) -> Layer | None:
    x = shape_of(node.inputs[0])
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1 or len(x) < weight.ndim:
        return None
    words = _words(weight.reshape(weight.shape[-2:]).T[:, :, None])
    (m, k), n = words.shape, prod(x[:-1])
    return QuadsLayer(node, Plane(1, 1, m, k, 1, n, n, k * n, 0, 0), None, True, numerics, words)


def _convolution(node: ir.Node, window: Window, weight: np.ndarray, numerics: Numerics) -> Layer | None:
    m, channels = weight.shape[:2]
    groups = window.channels // channels
    if groups > 1 and (m // groups % QUAD or channels % QUAD):
        return None
    words = _words(weight.reshape(m, channels, -1))
    cut, quads, k = replace(window, channels=groups * -(-channels // QUAD)), -(-channels // QUAD), words.shape[1]
    if window.is_pointwise:
        n = window.height * window.width
        sizes = (1, n, n, window.batch * cut.channels * n, cut.channels * n, quads * n)
        return QuadsLayer(node, Plane(window.batch, groups, m // groups, k, *sizes), None, False, numerics, words)
    size, (_, pitch) = cut.channel_size, cut.plane
    sizes = (cut.out_height, cut.out_width, pitch, cut.batch * cut.channels * size, cut.channels * size, quads * size)
    return QuadsLayer(node, Plane(window.batch, groups, m // groups, k, *sizes), cut, False, numerics, words)


def _words(weight: np.ndarray) -> np.ndarray:
    """Weights [M, C, taps] as int32 words [M, taps * quads of C]."""
    m, channels = weight.shape[:2]
    padded = np.pad(weight, ((0, 0), (0, -channels % QUAD), (0, 0))).astype(np.int8, casting="safe")
    return np.ascontiguousarray(padded.transpose(0, 2, 1)).view("<i4").astype(np.int32).reshape(m, -1)


def _largest_sum(words: np.ndarray) -> int:
    """The largest sum of products that some x gives."""
    sizes = np.abs(words.view(np.int8).astype(np.int64))
    return int(sizes.sum(axis=1).max()) * LARGEST_BYTE
