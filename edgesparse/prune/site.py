"""Where the outputs of a layer are matched: what is added to them on their way, and the bias that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.sparsity.stored import stored_array
from edgesparse.sparsity.weights import WeightRef


@dataclass(frozen=True)
class Bias:
    """Input `at` of `node`, added to every row of a layer's outputs; `inside` the layer's own node, or behind it."""

    node: ir.Node
    at: int
    inside: bool

    def behind(self) -> np.ndarray | None:
        """The constant that is added behind the layer, whatever its bias becomes."""
        held = None if self.inside else self.node.inputs[self.at]
        return None if held is None else stored_array(held)


@dataclass(frozen=True)
class Site:
    """The value that a layer computes, and what an Add adds to it before anything else reads it.

    `slope` is the range in which the readers of the sum can tell values apart: for a ReLU, above 0.
    """

    output: str
    residual: str | None
    bias: Bias | None
    slope: tuple[float, float] | None


def site_of(ref: WeightRef) -> Site | None:
    """Where the outputs of a layer are matched; None for a Gemm that scales them."""
    node = ref.source
    if node.op_type == "Gemm" and any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    value, bias = node.outputs[0], _own_bias(ref)
    add = _only_add(value)
    if bias is None and add is not None and (added := _operand(add, value)) is not None:
        array = stored_array(added)
        if array is not None and array.shape[-1:] == (ref.m,) == (array.size,) and ref.layout == "columns":
            bias = Bias(add, 1 - add.inputs.index(value), inside=False)
            value = add.outputs[0]
            add = _only_add(value)
    residual = None if add is None else _operand(add, value)
    name = None if residual is None or stored_array(residual) is not None else residual.name
    end = value if add is None or name is None else add.outputs[0]
    return Site(str(node.outputs[0].name), name, bias, _slope(end))


def _slope(value: ir.Value) -> tuple[float, float] | None:
    """The range in which what reads `value` tells its elements apart, where there is one."""
    ranges = {_range(use.node, use.idx) for use in value.uses()}
    return ranges.pop() if len(ranges) == 1 and not value.is_graph_output() else None


def _range(node: ir.Node, at: int) -> tuple[float, float] | None:
    """The range in which a node is not flat."""
    if at > 0 or node.domain:
        return None
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    if any(attribute.type != ir.AttributeType.FLOAT for attribute in node.attributes.values()):
        return None
    ends = [node.attributes.get_float("min", -np.inf), node.attributes.get_float("max", np.inf)]
    for end, held in enumerate(node.inputs[1:3]):
        if held is not None:
            array = stored_array(held)
            if array is None or array.size != 1 or array.dtype.kind not in "fiu":
                return None
            ends[end] = float(array.reshape(()))
    return ends[0], ends[1]


def _own_bias(ref: WeightRef) -> Bias | None:
    """The third input of a convolution or Gemm, where it is one constant a row or still free."""
    node = ref.source
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return None
    held = node.inputs[2] if len(node.inputs) > 2 else None
    array = None if held is None else stored_array(held)
    fits = held is None or (array is not None and array.shape[-1:] == (ref.m,) == (array.size,))
    return Bias(node, 2, inside=True) if fits else None


def _only_add(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    alone = len(uses) == 1 and not value.is_graph_output()
    return uses[0].node if alone and uses[0].node.op_type == "Add" and not uses[0].node.domain else None


def _operand(add: ir.Node, value: ir.Value) -> ir.Value | None:
    return add.inputs[1] if add.inputs[0] is value else add.inputs[0]


def store_bias(bias: Bias, offset: np.ndarray, like: ir.Value) -> None:
    """Put `offset` [M] where the bias of the layer with the weight `like` is, or add it to one behind the layer.

    A bias that nothing else reads keeps its name; another stays as it is, beside one of this layer's own.
    """
    node, weight = bias.node, stored_array(like)
    assert weight is not None
    held = node.inputs[bias.at] if len(node.inputs) > bias.at else None
    old = None if held is None else stored_array(held)
    if old is not None:
        offset = offset.reshape(old.shape) + (0.0 if bias.inside else old)
    array = np.ascontiguousarray(offset, np.float32 if weight.dtype.kind in "iu" else weight.dtype)
    if held is not None and held.is_initializer() and len(held.uses()) == 1 and not held.is_graph_output():
        held.const_value = ir.tensor(array, name=held.name)
        return
    if len(node.inputs) <= bias.at:
        node.resize_inputs(bias.at + 1)
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    name = f"{like.name}_bias"
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
    value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    graph.register_initializer(value)
    node.replace_input_with(bias.at, value)
