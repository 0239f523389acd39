"""The graph as kernels see it: what runs as one, in the order in which it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.graph.absorb import Fusion, absorb
from edgesparse.graph.attention import Attention, attention_of
from edgesparse.graph.geometry import Window
from edgesparse.graph.integer import Integer, integer_of
from edgesparse.graph.integer_layers import Sums, sums_of
from edgesparse.graph.layers import Layer, layer_of
from edgesparse.graph.quads import quads_layer
from edgesparse.graph.windows import unrolls, window_of
from edgesparse.nodes import constant, shape_of
from edgesparse.numerics import COMPUTED, Element, Numerics

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that only name the axes of the same elements anew."""


class _Fused:
    """An op that absorbs others."""

    fusion: Fusion

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes that are computed."""
        return self.fusion.nodes

    @property
    def output(self) -> ir.Value:
        """What is left at run time."""
        return self.fusion.output


@dataclass(frozen=True, eq=False)
class Weighted(_Fused):
    """A layer that the schedule chooses a form and a tile for, and what it absorbs; with `sums`, one of bytes."""

    layer: Layer
    fusion: Fusion
    sums: Sums | None = None

    @property
    def x(self) -> ir.Value:
        """What it reads at run time."""
        value = self.layer.node.inputs[0] if self.sums is None else self.sums.x.value
        assert value is not None
        return value

    @property
    def k(self) -> int:
        """Input channels of a group times the window."""
        return self.layer.plane.k if self.sums is None else self.sums.weight.size // len(self.sums.bias)

    @property
    def stored(self) -> ir.Value:
        """The constant that its weight is stored in."""
        value = self.layer.node.inputs[1] if self.sums is None else self.sums.w.value
        assert value is not None
        return value


@dataclass(frozen=True, eq=False)
class Depthwise(_Fused):
    """A convolution whose every group is one input channel, and what it absorbs."""

    window: Window
    fusion: Fusion

    @property
    def name(self) -> str:
        """Name of the ONNX node."""
        return str(self.nodes[0].name)

    @property
    def multiplier(self) -> int:
        """Outputs of each input channel."""
        return len(self.fusion.bias) // self.window.channels

    @property
    def weight(self) -> np.ndarray:
        """The weight [channels * multiplier, 1, ...] as ONNX has it."""
        found = constant(self.nodes[0].inputs[1])
        assert found is not None
        return found

    @property
    def numerics(self) -> Numerics:
        """Its element types."""
        return next(numerics for numerics in COMPUTED if numerics.w.name == self.weight.dtype.name)


@dataclass(frozen=True, eq=False)
class IntegerDepthwise:
    """A convolution of bytes whose every group is one input channel with one output."""

    window: Window
    sums: Sums

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes that are computed."""
        return self.sums.nodes

    @property
    def output(self) -> ir.Value:
        """What is left at run time."""
        return self.sums.result.output


@dataclass(frozen=True, eq=False)
class Other:
    """A node that absorbs nothing."""

    node: ir.Node

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The node."""
        return (self.node,)

    @property
    def is_view(self) -> bool:
        """It only names the axes of the same elements anew."""
        node = self.node
        return node.op_type in VIEWS and node.domain in ("", "ai.onnx") and constant(node.inputs[0]) is None


_Grouped = Weighted | Depthwise | Attention | IntegerDepthwise | Integer
Op = Weighted | Depthwise | Attention | IntegerDepthwise | Integer | Other


@dataclass(frozen=True, eq=False)
class Graph:
    """A model in normal form, and its ops in an order in which they can run."""

    model: ir.Model
    ops: tuple[Op, ...]

    @cached_property
    def weighted(self) -> tuple[Weighted, ...]:
        """The layers that there is something to choose for."""
        return tuple(op for op in self.ops if isinstance(op, Weighted))

    @property
    def on_integers(self) -> tuple[ir.Node, ...]:
        """The nodes that are computed on integers as they are stored."""
        return tuple(
            node
            for op in self.ops
            if isinstance(op, Integer | IntegerDepthwise) or (isinstance(op, Weighted) and op.sums is not None)
            for node in op.nodes
        )


def graph_of(model: ir.Model, dotted: Element | None = None) -> Graph:
    """See a model in normal form as ops; each stands where the last of its nodes does. Nodes whose
    outputs have no elements are left out.

    Args:
        dotted: what dot products of the CPU take; groups around quantized values run on integers where it has them.
    """
    last = {op.nodes[-1]: op for op in _fused(model, dotted)}
    taken = {node for op in last.values() for node in op.nodes}
    ops: list[Op] = []
    for node in model.graph:
        if node in last:
            ops.append(last[node])
        elif node not in taken and any(prod(shape_of(value)) for value in node.outputs if value.name):
            ops.append(Other(node))
    return Graph(model, tuple(ops))


def _fused(model: ir.Model, dotted: Element | None) -> Iterator[_Grouped]:
    taken: set[ir.Node] = set()
    for node in model.graph:
        op: _Grouped | None = None
        if node not in taken and dotted is not None:
            op = _integer_layer(node, taken, dotted) or integer_of(node, taken)
        if node not in taken and op is None:
            op = _layer(node, taken) or attention_of(node, taken)
        if op is not None:
            taken.update(op.nodes)
            yield op


def _integer_layer(node: ir.Node, taken: set[ir.Node], dotted: Element) -> Weighted | IntegerDepthwise | None:
    """The layer of bytes that a node is; None where it is none, or no kernel takes it."""
    sums = sums_of(node, taken)
    if sums is None:
        return None
    window = _depthwise_window(node, sums.weight)
    if window is not None and sums.result.by is not None and len(sums.weight) == window.channels:
        return IntegerDepthwise(window, sums)
    of_window = window_of(node, sums.weight.shape[2:]) if node.op_type == "Conv" else None
    if window is not None or (of_window is None and node.op_type == "Conv"):
        return None
    layer = quads_layer(node, of_window, sums.weight, sums.numerics(dotted))
    if layer is None:
        return None
    return Weighted(layer, Fusion(sums.nodes, sums.result.output, sums.started(dotted), None, None), sums)


def _layer(node: ir.Node, taken: set[ir.Node]) -> Weighted | Depthwise | None:
    layer, window = layer_of(node), depthwise_window(node)
    if layer is None and window is None:
        return None
    # Channels are the last axis of a linear layer and the second of a convolution.
    axis = -1 if layer is not None and layer.is_linear else 1 - len(shape_of(node.outputs[0]))
    fusion = absorb(node, axis, taken)
    if fusion is None:
        return None
    return Weighted(layer, fusion) if layer is not None else Depthwise(window, fusion)  # type: ignore[arg-type]


def depthwise_window(node: ir.Node) -> Window | None:
    """The window of a Conv whose every group is one input channel; None for any other node."""
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    if weight is None or weight.dtype.name not in {numerics.w.name for numerics in COMPUTED}:
        return None
    return _depthwise_window(node, weight)


def _depthwise_window(node: ir.Node, weight: np.ndarray) -> Window | None:
    if node.op_type != "Conv" or weight.shape[1] != 1:
        return None
    window = window_of(node, weight.shape[2:])
    return window if window is not None and window.channels > 1 and unrolls(window) else None
