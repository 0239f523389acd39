"""Run an ONNX graph as torch functions, operator by operator, so that gradients reach its weights.

A rule knows an operator as opset 20 defines it: older models are brought there first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.nn import functional as F

from edgesparse.errors import PruneError
from edgesparse.frontend import in_recent_opset
from edgesparse.inputs import said
from edgesparse.nodes import called
from edgesparse.sparsity.stored import stored_array
from edgesparse.torch.convolutions import average_pool, conv, conv_transpose, max_pool
from edgesparse.torch.node_args import attribute, ints, optional
from edgesparse.torch.recurrence import gru, lstm

Values = dict[str, torch.Tensor]
Rule = Callable[[ir.Node, list[Any]], Any]
"""What a node makes of its inputs; None for an input that is left out. Several outputs are a tuple.

Raises: NotImplementedError: for this kind of the operator.
"""


class Network:
    """The main graph of a model; `parameters` hold its constants by name, and may be replaced or require gradients."""

    def __init__(self, model: ir.Model) -> None:
        """Read the constants; values keep the names that they have in `model`.

        Raises: PruneError: an operator, or a type, has no counterpart in torch.
        """
        self.graph = in_recent_opset(model).graph
        unknown = {node.op_type for node in self.graph if node.op_type not in RULES or node.domain}
        if unknown:
            raise PruneError(f"recover: torch functions for {', '.join(sorted(unknown))} are missing; prune without it")
        self.parameters: Values = {name: _tensor(value) for name, value in self.graph.initializers.items()}

    def run(self, feeds: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> Values:
        """The values called `wanted`.

        Raises: PruneError: torch cannot run an operator on what it is given.
        """
        values: Values = {**self.parameters, **feeds}
        left = set(wanted) - values.keys()
        for node in self.graph:
            if not left:
                break
            try:
                made = RULES[node.op_type](node, [None if v is None else values[str(v.name)] for v in node.inputs])
            except NotImplementedError as err:
                raise PruneError(
                    f"recover: {_called(node)} is of a kind without torch function; prune without it"
                ) from err
            except (RuntimeError, IndexError) as err:
                raise PruneError(f"recover: torch cannot run {_called(node)}: {said(err)}") from err
            for value, tensor in zip(node.outputs, made if isinstance(made, tuple | list) else (made,), strict=False):
                values[str(value.name)] = tensor
                left.discard(str(value.name))
        return {name: values[name] for name in wanted}


def _called(node: ir.Node) -> str:
    return called(node.op_type, node.name, (value.name for value in node.outputs))


def _tensor(value: ir.Value) -> torch.Tensor:
    """The constant that `value` holds."""
    array = stored_array(value)
    try:
        return torch.from_numpy(np.array(array))
    except TypeError as err:
        raise PruneError(f"recover: {value.name}: torch cannot hold this constant: {said(err)}") from err


def _gemm(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    a, b = inputs[0], inputs[1]
    a = a.T if attribute(node, "transA", 0) else a
    b = b.T if attribute(node, "transB", 0) else b
    y = attribute(node, "alpha", 1.0) * (a @ b)
    bias = optional(inputs, 2)
    return y if bias is None else y + attribute(node, "beta", 1.0) * bias


def _batch_norm(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, scale, bias, mean, variance = inputs[:5]
    return F.batch_norm(x, mean, variance, scale, bias, eps=attribute(node, "epsilon", 1e-5))


def _layer_norm(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    shape = inputs[0].shape[attribute(node, "axis", -1) :]
    return F.layer_norm(inputs[0], shape, inputs[1], optional(inputs, 2), attribute(node, "epsilon", 1e-5))


def _reduce(function: Callable[..., torch.Tensor]) -> Rule:
    def rule(node: ir.Node, inputs: list[Any]) -> torch.Tensor:
        axes = optional(inputs, 1)
        if axes is None and attribute(node, "noop_with_empty_axes", 0):
            return inputs[0]  # type: ignore[no-any-return]
        which = list(range(inputs[0].dim())) if axes is None else ints(axes)
        return function(inputs[0], which, bool(attribute(node, "keepdims", 1)))

    return rule


def _reshape(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, shape = inputs[0], ints(inputs[1])
    if not attribute(node, "allowzero", 0):
        shape = [x.shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return x.reshape(shape)


def _flatten(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    axis = attribute(node, "axis", 1)
    return inputs[0].reshape(prod(inputs[0].shape[:axis]), -1)


def _squeeze(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    axes = optional(inputs, 1)
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(ints(axes)))


def _unsqueeze(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, axes = inputs[0], ints(inputs[1])
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


def _slice(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, starts, ends = inputs[0], ints(inputs[1]), ints(inputs[2])
    axes, steps = optional(inputs, 3), optional(inputs, 4)
    which = list(range(len(starts))) if axes is None else ints(axes)
    strides = [1] * len(starts) if steps is None else ints(steps)
    for axis, start, end, step in zip(which, starts, ends, strides, strict=True):
        chosen = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x  # type: ignore[no-any-return]


def _split(node: ir.Node, inputs: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    axis, sizes = attribute(node, "axis", 0), optional(inputs, 1)
    each = -(-inputs[0].shape[axis] // len(node.outputs))
    return tuple(torch.split(inputs[0], each if sizes is None else ints(sizes), axis))


def _gather(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, indices, axis = inputs[0], inputs[1], attribute(node, "axis", 0)
    axis %= x.dim()
    flat = indices.reshape(-1).to(torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _gather_nd(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, indices, batch = inputs[0], inputs[1].to(torch.int64), attribute(node, "batch_dims", 0)
    before = [
        torch.arange(size).reshape([-1] + [1] * (indices.dim() - 2 - at)) for at, size in enumerate(x.shape[:batch])
    ]
    picked: torch.Tensor = x[(*before, *indices.unbind(-1))]
    return picked


def _instance_norm(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    return F.instance_norm(inputs[0], weight=inputs[1], bias=inputs[2], eps=attribute(node, "epsilon", 1e-5))


def _running_sum(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    if attribute(node, "exclusive", 0) or attribute(node, "reverse", 0):
        raise NotImplementedError
    return torch.cumsum(inputs[0], int(inputs[1]), dtype=inputs[0].dtype)


def _pad(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, flat, value = inputs[0], ints(inputs[1]), optional(inputs, 2)
    if attribute(node, "mode", "constant") != "constant" or optional(inputs, 3) is not None:
        raise NotImplementedError
    rank = x.dim()
    sizes = [size for axis in reversed(range(rank)) for size in (flat[axis], flat[rank + axis])]
    return F.pad(x, sizes, value=0.0 if value is None else float(value))


def _constant_of_shape(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    value = attribute(node, "value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(np.array(value.numpy()))
    return filled.reshape(()).expand(ints(inputs[0])).clone()


RESIZES: dict[tuple[str, str], dict[str, Any]] = {
    ("nearest", "asymmetric"): {"mode": "nearest"},
    ("linear", "half_pixel"): {"mode": "bilinear", "align_corners": False},
    ("linear", "pytorch_half_pixel"): {"mode": "bilinear", "align_corners": False},
    ("linear", "align_corners"): {"mode": "bilinear", "align_corners": True},
}
"""How torch calls a mode and a transformation of coordinates."""


def _resize(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    x, scales, sizes = inputs[0], *[*inputs[2:], None, None][:2]
    how = RESIZES.get(
        (attribute(node, "mode", "nearest"), attribute(node, "coordinate_transformation_mode", "half_pixel"))
    )
    if how is None or x.dim() != 4 or (how["mode"] == "nearest" and attribute(node, "nearest_mode") != "floor"):
        raise NotImplementedError
    if sizes is None:
        return F.interpolate(x, scale_factor=scales.tolist()[2:], recompute_scale_factor=False, **how)
    return F.interpolate(x, size=ints(sizes)[2:], **how)


def _cast(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    dtype = ir.DataType(attribute(node, "to")).numpy()
    return inputs[0].to(torch.from_numpy(np.zeros(0, dtype)).dtype)


def _clip(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    low, high = (optional(inputs, at) for at in (1, 2))
    return inputs[0] if low is None and high is None else inputs[0].clamp(low, high)


def _div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _gelu(node: ir.Node, inputs: Sequence[Any]) -> torch.Tensor:
    return F.gelu(inputs[0], approximate=attribute(node, "approximate", "none"))


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Rule:
    return lambda _node, inputs: function(inputs[0])


def _binary(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Rule:
    return lambda _node, inputs: function(inputs[0], inputs[1])


UNARY = {
    **{name.capitalize(): getattr(torch, name) for name in ("sigmoid", "tanh", "exp", "log", "sqrt", "neg", "abs")},
    **{
        name.capitalize(): getattr(torch, name) for name in ("erf", "floor", "ceil", "reciprocal", "sign", "sin", "cos")
    },
    "Relu": F.relu,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Mish": F.mish,
    "IsNaN": torch.isnan,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "Not": torch.logical_not,
    "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True),
}
BINARY = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _div,
    "Pow": torch.pow,
    "MatMul": torch.matmul,
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Tile": lambda x, repeats: x.repeat(ints(repeats)),
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(ints(shape)))),
}
RULES: dict[str, Rule] = {
    **{name: _unary(function) for name, function in UNARY.items()},
    **{name: _binary(function) for name, function in BINARY.items()},
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "InstanceNormalization": _instance_norm,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": lambda node, inputs: torch.take_along_dim(
        inputs[0], inputs[1] % inputs[0].shape[attribute(node, "axis", 0)], attribute(node, "axis", 0)
    ),
    "CumSum": _running_sum,
    "Pad": _pad,
    "ConstantOfShape": _constant_of_shape,
    "Range": lambda _node, inputs: torch.arange(*(each.item() for each in inputs), dtype=inputs[0].dtype),
    "Resize": _resize,
    "LSTM": lstm,
    "GRU": gru,
    "Cast": _cast,
    "CastLike": lambda _node, inputs: inputs[0].to(inputs[1].dtype),
    "Clip": _clip,
    "Gelu": _gelu,
    "Transpose": lambda node, inputs: inputs[0].permute(attribute(node, "perm", [*range(inputs[0].dim())][::-1])),
    "Concat": lambda node, inputs: torch.cat(inputs, attribute(node, "axis")),
    "Shape": lambda node, inputs: torch.tensor(
        inputs[0].shape[attribute(node, "start", 0) : attribute(node, "end")], dtype=torch.int64
    ),
    "Where": lambda _node, inputs: torch.where(*inputs),
    "Max": lambda _node, inputs: _folded(torch.maximum, inputs),
    "Min": lambda _node, inputs: _folded(torch.minimum, inputs),
    "Sum": lambda _node, inputs: _folded(torch.add, inputs),
    "Softmax": lambda node, inputs: torch.softmax(inputs[0], attribute(node, "axis", -1)),
    "LogSoftmax": lambda node, inputs: torch.log_softmax(inputs[0], attribute(node, "axis", -1)),
    "ArgMax": lambda node, inputs: inputs[0].argmax(attribute(node, "axis", 0), bool(attribute(node, "keepdims", 1))),
    "LeakyRelu": lambda node, inputs: F.leaky_relu(inputs[0], attribute(node, "alpha", 0.01)),
    "Elu": lambda node, inputs: F.elu(inputs[0], attribute(node, "alpha", 1.0)),
    "HardSigmoid": lambda node, inputs: (
        attribute(node, "alpha", 0.2) * inputs[0] + attribute(node, "beta", 0.5)
    ).clamp(0.0, 1.0),
    "Dropout": lambda _node, inputs: inputs[0],
}
"""What each operator computes."""


def _folded(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], tensors: Sequence[Any]) -> torch.Tensor:
    result = tensors[0]
    for each in tensors[1:]:
        result = function(result, each)
    return result  # type: ignore[no-any-return]
