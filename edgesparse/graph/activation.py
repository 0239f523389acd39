"""The elementwise function that follows a layer, as a kernel computes it before it stores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.nodes import constant

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)  # alpha, gamma: defaults of ONNX


@dataclass(frozen=True)
class Activation:
    """An elementwise function by the name that kernels know it by, with its parameters."""

    name: str
    parameters: tuple[float, ...] = ()


def activation_of(node: ir.Node) -> Activation | None:
    """The activation that a node computes on its first input; None for any other node.

    A Clip counts when its bounds are constants, a PRelu when its slope is one number.
    """
    read = _READERS.get(node.op_type)
    if read is None or node.domain not in ("", "ai.onnx"):
        return None
    return read(node)


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.as_float())


def _read_clip(node: ir.Node) -> Activation | None:
    """Bounds are attributes before opset 11, inputs since; an absent one is infinite."""
    bounds = [_number(node, "min", -math.inf), _number(node, "max", math.inf)]
    for place, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        array = constant(value)
        if array is None:
            return None
        bounds[place] = float(array.reshape(()))
    return Activation("clip", tuple(bounds))


def _read_prelu(node: ir.Node) -> Activation | None:
    slope = constant(node.inputs[1])
    return None if slope is None or slope.size != 1 else Activation("leaky_relu", (float(slope.reshape(())),))


def _read_gelu(node: ir.Node) -> Activation:
    approximate = node.attributes.get("approximate")
    return Activation("gelu_tanh" if approximate is not None and approximate.as_string() == "tanh" else "gelu")


def _reader(name: str, **defaults: float) -> Callable[[ir.Node], Activation]:
    """Read the attributes in `defaults`, in order, as parameters."""
    return lambda node: Activation(name, tuple(_number(node, key, value) for key, value in defaults.items()))


_READERS: dict[str, Callable[[ir.Node], Activation | None]] = {
    "Relu": _reader("relu"),
    "Clip": _read_clip,
    "LeakyRelu": _reader("leaky_relu", alpha=0.01),
    "PRelu": _read_prelu,
    "Elu": lambda node: Activation("elu", (_number(node, "alpha", 1.0), 1.0)),
    "Selu": _reader("elu", alpha=_SELU[0], gamma=_SELU[1]),
    "HardSigmoid": _reader("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _reader("hard_swish"),
    "Sigmoid": _reader("sigmoid"),
    "Tanh": _reader("tanh"),
    "Swish": _reader("swish", alpha=1.0),
    "Gelu": _read_gelu,
}
