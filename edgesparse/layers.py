"""Weighted layers of a normalised model, seen as y[M, N] = w[M, K] @ x[K, N]."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.geometry import Plane, Window


@dataclass(frozen=True, eq=False)
class Layer:
    """A Conv or MatMul node with a constant float32 weight.

    `window` is None for a layer that reads x [K, N] as it lies. A linear layer is stored transposed by ONNX:
    its x is [N, K] and its y [N, M]; `is_linear` tells.
    """

    node: ir.Node
    plane: Plane
    window: Window | None
    is_linear: bool
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
        return self._stored.reshape(self.plane.groups * self.plane.m, self.plane.k)

    @property
    def is_vector(self) -> bool:
        """There is a single column: y[M] = w[M, K] @ x[K]."""
        plane = self.plane
        return self.window is None and plane.batch == plane.groups == plane.n == 1

    @property
    def density(self) -> float:
        """Nonzero weights / weights, in [0, 1]."""
        return float(np.count_nonzero(self._stored)) / max(self._stored.size, 1)


def layers(model: ir.Model) -> list[Layer]:
    """Every layer of the graph that the tiled kernels compute, in graph order."""
    return [layer for node in model.graph if (layer := layer_of(node)) is not None]


def layer_of(node: ir.Node) -> Layer | None:
    """The layer that a node is; None if it is none, or one that has kernels of its own (depthwise)."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "MatMul"):
        return None
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or weight.const_value is None or x.dtype != ir.DataType.FLOAT:
        return None
    stored = weight.const_value.numpy()
    if stored.size == 0 or 0 in _dims(x) or 0 in _dims(node.outputs[0]):
        return None
    return _convolution(node, stored) if node.op_type == "Conv" else _linear(node, stored)


def _dims(value: ir.Value) -> tuple[int, ...]:
    assert value.shape is not None
    return tuple(int(d) for d in value.shape)  # type: ignore[arg-type]


def _linear(node: ir.Node, stored: np.ndarray) -> Layer | None:
    x = _dims(node.inputs[0])  # type: ignore[arg-type]
    if stored.ndim < 2 or prod(stored.shape[:-2]) != 1 or len(x) < stored.ndim:
        return None
    k, m = stored.shape[-2:]
    n = prod(x[:-1])
    return Layer(node, Plane(1, 1, m, k, 1, n, n, k * n, 0, 0), None, True, stored)


def _convolution(node: ir.Node, stored: np.ndarray) -> Layer | None:
    x, y = _dims(node.inputs[0]), _dims(node.outputs[0])  # type: ignore[arg-type]
    groups = node.attributes.get_int("group", 1)
    spatial = len(x) - 2
    if spatial not in (1, 2) or (groups == x[1] and groups > 1):
        return None

    def pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
        return (values[0], values[1]) if spatial == 2 else (fill, values[0])

    def attribute(name: str, default: int) -> tuple[int, int]:
        return pair(tuple(node.attributes.get_ints(name, [default] * spatial)), default)

    pads = tuple(node.attributes.get_ints("pads", [0] * (2 * spatial)))
    height, width = pair(x[2:], 1)
    out_height, out_width = pair(y[2:], 1)
    window = Window(
        batch=x[0],
        channels=x[1],
        height=height,
        width=width,
        kernel=pair(stored.shape[2:], 1),
        strides=attribute("strides", 1),
        dilations=attribute("dilations", 1),
        pads=pair(pads[:spatial], 0),
        out_height=out_height,
        out_width=out_width,
    )
    m, channels = y[1] // groups, x[1] // groups
    k = channels * prod(window.kernel)
    if window.is_pointwise:
        n = height * width
        plane = Plane(x[0], groups, m, k, 1, n, n, prod(x), x[1] * n, channels * n)
        return Layer(node, plane, None, False, stored)
    size = window.channel_size
    pitch = window.plane[1]
    plane = Plane(x[0], groups, m, k, out_height, out_width, pitch, x[0] * x[1] * size, x[1] * size, channels * size)
    return Layer(node, plane, window, False, stored)
