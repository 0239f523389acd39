"""Which nodes a weighted layer absorbs: its bias, one residual add and one activation."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.graph.activation import Activation, activation_of
from edgesparse.nodes import constant, dtype_of, shape_of
from edgesparse.numerics import element


@dataclass(frozen=True, eq=False)
class Fusion:
    """A layer's node and what follows it: y = activation(node(x) + bias + residual).

    `nodes` starts with the layer's node; `output` is the only value of them that exists at run time.
    """

    nodes: tuple[ir.Node, ...]
    output: ir.Value
    bias: np.ndarray  # one number per channel, of the type that sums are kept in
    residual: ir.Value | None
    activation: Activation | None

    @property
    def op(self) -> str:
        """What is computed, such as "Conv+Add+Relu"."""
        return "+".join(node.op_type for node in self.nodes)


def absorb(node: ir.Node, channel_axis: int, taken: Set[ir.Node]) -> Fusion | None:
    """Absorb what follows `node`, as long as nobody else reads the values between.

    Args:
        channel_axis: of the node's output, counted from its end (negative).
        taken: nodes that another layer has absorbed.

    None where the layer's own bias is computed at run time: the epilogue has no place for it.
    """
    value = node.outputs[0]
    channels = shape_of(value)[channel_axis]
    kept = element(dtype_of(value)).wide.numpy
    bias = np.zeros(channels, kept)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        own = constant(node.inputs[2])
        if own is None:
            return None
        bias = bias + own.reshape(-1)
    nodes, residual, activation = [node], None, None
    while activation is None:
        found = _activation(value)
        if found is not None and not set(found[1]) & taken:
            activation, absorbed = found
            nodes += absorbed
            value = absorbed[-1].outputs[0]
            break
        add = only_reader(value)
        if add is None or add in taken or add.op_type != "Add":
            break
        other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
        if other is None or add.outputs[0].shape != value.shape:
            break
        shift = _per_channel(constant(other), channel_axis, channels)
        if shift is not None and residual is None:
            bias = bias + shift
        elif residual is None and other.shape == value.shape and other.dtype == value.dtype:
            residual = other
        else:
            break
        nodes.append(add)
        value = add.outputs[0]
    return Fusion(tuple(nodes), value, bias.astype(kept), residual, activation)


def only_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads a value; None for an output of the graph."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _activation(value: ir.Value) -> tuple[Activation, list[ir.Node]] | None:
    """The activation that alone reads `value`: one node, or x * gate(x) as two."""
    if value.is_graph_output():
        return None
    readers = [use.node for use in value.uses()]
    if len(readers) == 1 and readers[0].inputs[0] is value:
        activation = activation_of(readers[0])
        return None if activation is None else (activation, readers)
    if len(readers) == 2:
        gate, product = readers if readers[1].op_type == "Mul" else readers[::-1]
        is_gated = product.op_type == "Mul" and gate.op_type == "Sigmoid" and only_reader(gate.outputs[0]) is product
        if is_gated:
            return Activation("swish", (1.0,)), [gate, product]
    return None


def _per_channel(array: np.ndarray | None, axis: int, channels: int) -> np.ndarray | None:
    """The array as one number per channel, if it broadcasts along every other axis."""
    if array is None:
        return None
    if array.size == 1:
        return np.full(channels, array.reshape(()))
    along = array.shape[axis] if array.ndim >= -axis else 1
    return array.reshape(-1) if along == array.size == channels else None
