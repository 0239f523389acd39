"""An ONNX network of convolutions as a torch module that trains, with BatchNorm put back, and back to ONNX.

Deployed networks have BatchNorm folded into their convolutions, and train badly without. `to_module` gives every
convolution a BatchNorm, `standardise` sets it to the statistics of real images without changing what the network
computes, and `to_onnx` folds it again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx, nn
from torch.nn import functional

from edgesparse.sparsity.weights import stored_array


def to_module(model: ir.Model) -> fx.GraphModule:
    """Build a module from a normalised model, `edgesparse.frontend.load`: layers are conv0, norm0, ..., linear0.

    Any batch size, whatever the model's. Train mode to begin with.

    Raises: ValueError: an operator, or a form of one, that is not known here.
    """
    build = _Builder()
    (image,) = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    build.values[image] = build.graph.placeholder("image")
    for node in model.graph:
        if node.op_type in ("Constant", "ConstantOfShape"):
            continue
        if node.op_type not in OPERATORS:
            raise ValueError(f"{node.name}: {node.op_type} is not known; expected one of {', '.join(OPERATORS)}")
        (output,) = node.outputs
        build.values[output] = OPERATORS[node.op_type](build, node)
    (scores,) = model.graph.outputs
    build.graph.output(build.values[scores])
    return fx.GraphModule(build.layers, build.graph)


@dataclass
class _Builder:
    graph: fx.Graph = field(default_factory=fx.Graph)
    layers: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    values: dict[ir.Value, fx.Node] = field(default_factory=dict)

    def input(self, node: ir.Node, at: int = 0) -> fx.Node:
        """What the operand `at` has become."""
        value = node.inputs[at]
        assert value is not None
        if value not in self.values:
            raise ValueError(f"{node.name}: input {at} of {node.op_type} is a constant; expected a computed value")
        return self.values[value]

    def layer(self, kind: str, layer: nn.Module, x: fx.Node) -> fx.Node:
        """Add a layer, named by its kind and a number."""
        name = f"{kind}{sum(name.startswith(kind) for name in self.layers)}"
        self.layers[name] = layer
        return self.graph.call_module(name, (x,))

    def call(self, function: Callable[..., Any], *arguments: Any) -> fx.Node:
        """Add a call of a function."""
        return self.graph.call_function(function, arguments)


def _constant(node: ir.Node, at: int) -> np.ndarray:
    array = stored_array(node.inputs[at]) if len(node.inputs) > at else None
    if array is None:
        raise ValueError(f"{node.name}: input {at} of {node.op_type} is missing or not a constant")
    return array


def _pads(node: ir.Node) -> tuple[int, int]:
    top, left, bottom, right = node.attributes.get_ints("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise ValueError(f"{node.name}: pads that are not the same on both sides are not known")
    return top, left


def _conv(build: _Builder, node: ir.Node) -> fx.Node:
    weight = torch.from_numpy(_constant(node, 1).copy())
    outputs, inputs, *window = weight.shape
    group = node.attributes.get_int("group", 1)
    stride, dilation = (tuple(node.attributes.get_ints(name, (1, 1))) for name in ("strides", "dilations"))
    conv = nn.Conv2d(
        inputs * group, outputs, tuple(window), stride, _pads(node), dilation, group, bias=False, dtype=weight.dtype
    )
    norm = nn.BatchNorm2d(outputs, dtype=weight.dtype)
    with torch.no_grad():
        conv.weight.copy_(weight)
        norm.running_var.fill_(1.0 - norm.eps)
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            norm.bias.copy_(torch.from_numpy(_constant(node, 2).copy()))
    return build.layer("norm", norm, build.layer("conv", conv, build.input(node)))


def _matmul(build: _Builder, node: ir.Node) -> fx.Node:
    weight = torch.from_numpy(_constant(node, 1).T.copy())
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
    return build.layer("linear", linear, build.input(node))


def _add(build: _Builder, node: ir.Node) -> fx.Node:
    if stored_array(node.inputs[1]) is None:
        return build.call(operator.add, build.input(node), build.input(node, 1))
    sum_of = build.input(node)
    linear = build.layers[str(sum_of.target)] if sum_of.op == "call_module" else None
    if not isinstance(linear, nn.Linear):
        raise ValueError(f"{node.name}: a constant is added to another layer than MatMul")
    linear.bias = nn.Parameter(torch.from_numpy(_constant(node, 1).copy()))
    return sum_of


def _slice(build: _Builder, node: ir.Node) -> fx.Node:
    index = [slice(None)] * 4
    bounds = [_constant(node, at).tolist() for at in (1, 2, 3)]
    steps = _constant(node, 4).tolist() if len(node.inputs) > 4 else [1] * len(bounds[0])
    for start, end, axis, step in zip(*bounds, steps, strict=True):
        index[axis] = slice(start, end, step)
    return build.call(operator.getitem, build.input(node), tuple(index))


def _pad(build: _Builder, node: ir.Node) -> fx.Node:
    before, after = np.split(_constant(node, 1), 2)
    widths = [int(width) for pair in zip(before[::-1], after[::-1], strict=True) for width in pair]
    return build.call(functional.pad, build.input(node), tuple(widths))


def _average_pool(build: _Builder, node: ir.Node) -> fx.Node:
    window, stride = node.attributes["kernel_shape"].as_ints(), node.attributes["strides"].as_ints()
    return build.call(functional.avg_pool2d, build.input(node), tuple(window), tuple(stride), _pads(node))


def _global_pool(build: _Builder, node: ir.Node) -> fx.Node:
    return build.call(functional.adaptive_avg_pool2d, build.input(node), 1)


def _flatten(build: _Builder, node: ir.Node) -> fx.Node:
    shape = node.outputs[0].shape
    if shape is None or len(shape) != 2:
        raise ValueError(f"{node.name}: {node.op_type} to another shape than [batch, features] is not known")
    return build.call(torch.flatten, build.input(node), 1)


def _concat(build: _Builder, node: ir.Node) -> fx.Node:
    parts = tuple(build.input(node, at) for at in range(len(node.inputs)))
    return build.call(torch.cat, parts, node.attributes["axis"].as_int())


def _gather(build: _Builder, node: ir.Node) -> fx.Node:
    axis, indices = node.attributes.get_int("axis", 0), tuple(_constant(node, 1).tolist())
    return build.call(operator.getitem, build.input(node), (slice(None),) * axis + (list(indices),))


OPERATORS: Mapping[str, Callable[[_Builder, ir.Node], fx.Node]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gather": _gather,
    "GlobalAveragePool": _global_pool,
    "MatMul": _matmul,
    "Pad": _pad,
    "Relu": lambda build, node: build.call(functional.relu, build.input(node)),
    "Reshape": _flatten,
    "Slice": _slice,
}


def standardise(module: nn.Module, images: torch.Tensor) -> None:
    """Set every BatchNorm to the statistics of `images` [N, C, H, W], scale and bias making up for it.

    What the module computes in eval mode stays the same.
    """
    seen: list[tuple[nn.BatchNorm2d, torch.Tensor, torch.Tensor]] = []

    def note(norm: nn.BatchNorm2d, inputs: Sequence[torch.Tensor], _: torch.Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        seen.append((norm, mean, variance))

    handles = [layer.register_forward_hook(note) for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    training = module.training
    with torch.no_grad():
        module.eval()(images)
        for norm, mean, variance in seen:
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias.add_(scale * (mean - norm.running_mean))
            norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    module.train(training)
    for handle in handles:
        handle.remove()


def reinitialise(module: nn.Module) -> None:
    """Forget what was trained: He initialisation, BatchNorm as it begins; random numbers are torch's."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d | nn.Linear):
            layer.reset_parameters()


def to_onnx(module: nn.Module, model: ir.Model) -> ir.Model:
    """A copy of `model`, which `to_module` made `module` from, with the weights of `module` and BatchNorm folded."""
    copied = model.clone()
    layers = dict(module.named_children())
    convolutions = linears = 0
    for node in copied.graph:
        if node.op_type == "Conv":
            weight, bias = _folded(layers, str(convolutions))
            _store(copied, node, 1, weight)
            _store(copied, node, 2, bias)
            convolutions += 1
        elif node.op_type == "MatMul":
            _store(copied, node, 1, layers[f"linear{linears}"].weight.detach().numpy().T)
            linears += 1
        elif node.op_type == "Add" and stored_array(node.inputs[1]) is not None:
            _store(copied, node, 1, layers[f"linear{linears - 1}"].bias.detach().numpy())
    return copied


def _folded(layers: Mapping[str, Any], number: str) -> tuple[np.ndarray, np.ndarray]:
    conv, norm = layers["conv" + number], layers["norm" + number]
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return weight.contiguous().numpy(), bias.numpy()


def _store(model: ir.Model, node: ir.Node, at: int, array: np.ndarray) -> None:
    """Give `node` an initializer of its own as input `at`."""
    if len(node.inputs) <= at:
        node.resize_inputs(at + 1)
    old = node.inputs[at]
    node.replace_input_with(at, None)
    if old is not None and old.is_initializer() and not old.uses():
        del model.graph.initializers[old.name or ""]
    name = f"{node.name}_{at}"
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    node.replace_input_with(at, value)
