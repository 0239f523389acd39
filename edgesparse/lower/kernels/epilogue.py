"""What happens to accumulated vectors before they are stored: a residual is added, then an activation applied."""

from __future__ import annotations

import math as scalar_math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.lower.kernels import math
from edgesparse.lower.nodes import constant

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)  # alpha, gamma: defaults of ONNX


@dataclass(frozen=True)
class Activation:
    """An elementwise function by name, with its parameters; the names are the keys of `_FUNCTIONS`."""

    name: str
    parameters: tuple[float, ...] = ()

    def apply(self, x: Expr) -> Expr:
        """The function of a scalar or vector. NaN stays NaN."""
        return math.hold(_FUNCTIONS[self.name](math.hold(x), *self.parameters))


@dataclass(frozen=True)
class Epilogue:
    """activation(accumulator + residual); both parts are optional.

    With `residual`, the kernel has one more argument, shaped like its output, which it reads there.
    """

    activation: Activation | None = None
    residual: bool = False

    def apply(self, accumulator: Expr, residual: Expr | None = None) -> Expr:
        """The value to store for an accumulated scalar or vector."""
        value = accumulator if residual is None else accumulator + residual
        return value if self.activation is None else self.activation.apply(value)


def activation_of(node: ir.Node) -> Activation | None:
    """The activation that a node computes on its first input; None for any other node.

    A Clip counts when its bounds are constants, a PRelu when its slope is one number.
    """
    read = _READERS.get(node.op_type)
    if read is None or node.domain not in ("", "ai.onnx"):
        return None
    return read(node)


def _relu(x: Expr) -> Expr:
    return math.at_least(x, 0.0)


def _clip(x: Expr, low: float, high: float) -> Expr:
    x = x if low == -scalar_math.inf else math.at_least(x, low)
    return x if high == scalar_math.inf else math.at_most(x, high)


def _leaky_relu(x: Expr, slope: float) -> Expr:
    return T.Select(x < math.splat(0.0, x), x * math.splat(slope, x), x)


def _elu(x: Expr, alpha: float, gamma: float) -> Expr:
    negative = math.hold((math.exp(x) - math.splat(1.0, x)) * math.splat(alpha * gamma, x))
    return T.Select(x < math.splat(0.0, x), negative, x if gamma == 1.0 else x * math.splat(gamma, x))


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return math.clamp(x * math.splat(alpha, x) + math.splat(beta, x), 0.0, 1.0)


def _hard_swish(x: Expr) -> Expr:
    return x * _hard_sigmoid(x, 1.0 / 6.0, 0.5)


def _swish(x: Expr, alpha: float) -> Expr:
    return x * math.sigmoid(x if alpha == 1.0 else math.hold(x * math.splat(alpha, x)))


def _gelu(x: Expr) -> Expr:
    half = math.hold(x * math.splat(0.5, x))
    return half + half * math.erf(math.hold(x * math.splat(scalar_math.sqrt(0.5), x)))


def _gelu_tanh(x: Expr) -> Expr:
    """x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 * x**3), as x * sigmoid(2 * u)."""
    scale = 2.0 * scalar_math.sqrt(2.0 / scalar_math.pi)
    inner = math.splat(scale * 0.044715, x) * (x * x) + math.splat(scale, x)
    return x * math.sigmoid(math.hold(x * inner))


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "relu": _relu,
    "clip": _clip,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "sigmoid": math.sigmoid,
    "tanh": math.tanh,
    "swish": _swish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.as_float())


def _read_clip(node: ir.Node) -> Activation | None:
    """Bounds are attributes before opset 11, inputs since; an absent one is infinite."""
    bounds = [_number(node, "min", -scalar_math.inf), _number(node, "max", scalar_math.inf)]
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
