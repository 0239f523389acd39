"""Weighted layers of a normalised model, seen as y[M, N] = w[M, K] @ x[K, N]."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.graph.geometry import Plane, Window
from edgesparse.graph.windows import window_of
from edgesparse.nodes import dtype_of, shape_of
from edgesparse.numerics import COMPUTED, HALF, HALF_OF_COLUMN, Numerics

BLOCK = 4
"""Neighbouring input channels at one tap that blocks of zeros take together."""

FEWER = 0.9
"""Share of the blocks that must be left in an order of K for it to be taken."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A Conv or MatMul node with a constant weight.

    `window` is None for a layer that reads x [K, N] as it lies. A linear layer is stored transposed by ONNX:
    its x is [N, K] and its y [N, M]; `is_linear` tells.
    """

    node: ir.Node
    plane: Plane
    window: Window | None
    is_linear: bool
    numerics: Numerics
    _stored: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the ONNX node."""
        return str(self.node.name)

    @cached_property
    def weight(self) -> np.ndarray:
        """The weight as a matrix [groups * M, K]."""
        if self.is_linear:
            return np.ascontiguousarray(self._stored.reshape(self._stored.shape[-2:]).T)
        rows = self.plane.groups * self.plane.m
        if not self.by_tap:
            return self._stored.reshape(rows, self.plane.k)
        return np.ascontiguousarray(self.filters.reshape(*self.filters.shape[:2], -1).swapaxes(1, 2)).reshape(rows, -1)

    @property
    def filters(self) -> np.ndarray:
        """The weight of a convolution as ONNX has it, [groups * M, channels of a group, *kernel]."""
        return self._stored

    @cached_property
    def by_tap(self) -> bool:
        """K is ordered (tap, channel), not (channel, tap): zeros of a convolution are blocks of channels at one tap."""
        if self.window is None or self.filters.shape[1] % BLOCK:
            return False
        nonzero = self.filters.reshape(*self.filters.shape[:2], -1) != 0
        channels = np.count_nonzero(nonzero.reshape(len(nonzero), -1, BLOCK, nonzero.shape[2]).any(axis=2))
        taps = np.count_nonzero(nonzero.reshape(len(nonzero), -1, BLOCK).any(axis=2))
        return bool(channels < FEWER * taps)

    @property
    def matrices(self) -> np.ndarray:
        """The weight as matrices [groups, M, K]."""
        return self.weight.reshape(self.plane.groups, self.plane.m, self.plane.k)

    @property
    def offsets(self) -> np.ndarray:
        """Where x holds each k of a group, in elements, as int32."""
        if self.window is None:
            return (np.arange(self.plane.k) * self.plane.n).astype(np.int32)
        channels = self.window.channels // self.plane.groups
        found = self.window.offsets(channels)
        return np.ascontiguousarray(found.reshape(channels, -1).T.ravel()) if self.by_tap else found

    @property
    def is_vector(self) -> bool:
        """There is a single column: y[M] = w[M, K] @ x[K]."""
        plane = self.plane
        return self.window is None and plane.batch == plane.groups == plane.n == 1

    @property
    def density(self) -> float:
        """Nonzero weights / weights, in [0, 1]."""
        return float(np.count_nonzero(self._stored)) / max(self._stored.size, 1)


def layer_of(node: ir.Node) -> Layer | None:
    """The layer that a node is; None if it is none, or one that has kernels of its own (depthwise)."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "MatMul"):
        return None
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or weight.const_value is None:
        return None
    stored, numerics = weight.const_value.numpy(), _numerics(node)
    if numerics is None or stored.size == 0 or 0 in shape_of(x) or 0 in shape_of(node.outputs[0]):
        return None
    layer = (_convolution if node.op_type == "Conv" else _linear)(node, numerics, stored)
    return replace(layer, numerics=HALF_OF_COLUMN) if layer and layer.is_vector and numerics == HALF else layer


def _numerics(node: ir.Node) -> Numerics | None:
    """The element types that a node is computed with; None where no kernel takes them."""
    types = {dtype_of(value) for value in (*node.inputs[:2], node.outputs[0])}
    return next((numerics for numerics in COMPUTED if types == {numerics.x.name}), None)


def _linear(node: ir.Node, numerics: Numerics, stored: np.ndarray) -> Layer | None:
    x = shape_of(node.inputs[0])
    if stored.ndim < 2 or prod(stored.shape[:-2]) != 1 or len(x) < stored.ndim:
        return None
    k, m = stored.shape[-2:]
    n = prod(x[:-1])
    return Layer(node, Plane(1, 1, m, k, 1, n, n, k * n, 0, 0), None, True, numerics, stored)


def _convolution(node: ir.Node, numerics: Numerics, stored: np.ndarray) -> Layer | None:
    x, y = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    groups = node.attributes.get_int("group", 1)
    window = window_of(node, stored.shape[2:])
    if window is None or (groups == x[1] and groups > 1):
        return None
    m, channels = y[1] // groups, x[1] // groups
    k = channels * prod(window.kernel)
    if window.is_pointwise:
        n = window.height * window.width
        plane = Plane(x[0], groups, m, k, 1, n, n, prod(x), x[1] * n, channels * n)
        return Layer(node, plane, None, False, numerics, stored)
    size, (_, pitch) = window.channel_size, window.plane
    strides = (x[1] * size, channels * size)
    plane = Plane(x[0], groups, m, k, window.out_height, window.out_width, pitch, x[0] * x[1] * size, *strides)
    return Layer(node, plane, window, False, numerics, stored)
