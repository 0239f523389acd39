"""Quantized operators: small networks of one operator between conversions, or of one that takes scales as operands.

Every case reads integers that are fed, and gives the integers that are stored of the result, or floats where the
operator gives floats.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.sweeps.pairs import Row, pairwise

CONTRIB = "com.microsoft"
TYPES = ("uint8", "int8", "uint16", "int16")
ZEROS = ("none", "low", "middle", "high")
FACTORS: Mapping[str, tuple[Any, ...]] = {
    "channels": (False, True),
    "opset": (10, 13, 19, 21),
    "w": ("int8", "uint8"),
    "x": TYPES,
    "y": TYPES,
    "zero": ZEROS,
}
SINCE = {"uint16": 21, "int16": 21}
"""Opsets in which the standard's conversions take more than bytes."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network under a name that stays the same."""

    id: str
    operator: str
    opset: int
    nodes: tuple[onnx.NodeProto, ...]
    feeds: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    output: str

    def model(self) -> onnx.ModelProto:
        """The network as a model of its own."""
        return model_of([self])


def model_of(cases: Collection[Case]) -> onnx.ModelProto:
    """Networks of one opset side by side."""
    inputs = {name: array for case in cases for name, array in case.feeds.items()}
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    graph = helper.make_graph(
        [node for case in cases for node in case.nodes],
        "quantized",
        [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in inputs.items()],
        [helper.make_empty_tensor_value_info(case.output) for case in cases],
        [numpy_helper.from_array(array, name) for case in cases for name, array in case.constants.items()],
    )
    opset = next(iter(cases)).opset
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


@dataclass(eq=False)
class Net:
    """A network being written; `row` says of which types, zero points and axes."""

    prefix: str
    row: Row
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def node(self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: object) -> str:
        """The first output of a new node."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        made = [f"{self.prefix}v{len(self.nodes)}{'abc'[at]}" for at in range(outputs)]
        name = f"{self.prefix}n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, made, name=name, domain=domain, **attributes))
        return made[0]

    def constant(self, array: np.ndarray) -> str:
        """The name of a new constant."""
        name = f"{self.prefix}k{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def stored(self, kind: str, shape: tuple[int, ...], *, fed: bool) -> str:
        """Integers of a type: an input of the model, or a constant."""
        limits = np.iinfo(kind)
        array = self.rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
        if not fed:
            return self.constant(array)
        name = f"{self.prefix}x{len(self.feeds)}"
        self.feeds[name] = array
        return name

    def scale(self, reach: float, kind: str, count: int = 0) -> np.ndarray:
        """A scale by which a type reaches so far, or about so for each of `count` channels."""
        step = reach / (np.iinfo(kind).max - np.iinfo(kind).min) * 2
        return np.asarray(step * self.rng.uniform(0.7, 1.4, (count,) if count else ()), np.float32)

    def zero(self, kind: str, count: int = 0) -> np.ndarray | None:
        """A zero point where the row says; none for the type that is stored without one."""
        limits, at = np.iinfo(kind), self.row["zero"]
        if at == "none":
            return None if kind == "uint8" else np.zeros((count,) if count else (), kind)
        low, high = int(limits.min), int(limits.max)
        number = {"low": low + 3, "middle": (low + high + 1) // 2 + 5, "high": high - 9}[at]
        return np.full((count,) if count else (), number, kind)

    def parameters(self, reach: float, kind: str, count: int = 0) -> tuple[str, str]:
        """The names of a scale and a zero point, the latter empty where there is none."""
        zero = self.zero(kind, count)
        return self.constant(self.scale(reach, kind, count)), "" if zero is None else self.constant(zero)

    def real(self, shape: tuple[int, ...], kind: str | None = None, *, fed: bool = True, reach: float = 4.0) -> str:
        """Dequantized integers."""
        kind = kind or self.row["x"]
        return self.node("DequantizeLinear", self.stored(kind, shape, fed=fed), *self.parameters(reach, kind))

    def weight(self, shape: tuple[int, ...], axis: int) -> str:
        """A dequantized constant, with a scale for each index of the axis where the row says."""
        kind, count = self.row["w"], shape[axis] if self.row["channels"] else 0
        said = {"axis": axis} if count else {}
        return self.node(
            "DequantizeLinear", self.stored(kind, shape, fed=False), *self.parameters(1.0, kind, count), **said
        )

    def bias(self, channels: int) -> str:
        """A dequantized bias of int32."""
        array = self.rng.integers(-3000, 3000, channels, dtype=np.int32)
        return self.node("DequantizeLinear", self.constant(array), self.constant(np.float32(3e-4)))

    def end(self, y: str, reach: float) -> str:
        """What is stored of the result."""
        kind = self.row["y"]
        scale, zero = self.constant(self.scale(reach, kind)), self.zero(kind)
        return self.node("QuantizeLinear", y, scale, "" if zero is None else self.constant(zero))


Write = Callable[[Net], str | None]
"""Writes a network and names its output; None where the row means nothing for the operator."""

WRITERS: dict[str, Write] = {}


def writer(name: str, since: int = 10) -> Callable[[Write], Write]:
    """Register a network under the name of what it sweeps."""

    def register(write: Write) -> Write:
        WRITERS[name] = lambda net: write(net) if net.row["opset"] >= since else None
        return write

    return register


def cases(only: Collection[str] | None = None) -> Iterator[Case]:
    """Every quantized operator with all pairs of types, zero points, scales by channel and opsets."""
    for name, write in WRITERS.items():
        if only is not None and name not in only:
            continue
        for row in pairwise(FACTORS, lambda row, write=write, name=name: _case(name, write, row) is not None, name):
            case = _case(name, write, row)
            assert case is not None
            yield case


def _case(name: str, write: Write, row: Row) -> Case | None:
    said = ",".join(f"{key}={level}" for key, level in sorted(row.items()))
    used = {row["x"], row["y"]}
    if row["opset"] < max(SINCE.get(kind, 0) for kind in used) and not name.startswith("com.microsoft"):
        return None
    if row["channels"] and row["opset"] < 13:
        return None
    seed = int.from_bytes(f"{name}:{said}".encode(), "little") % (1 << 32)
    net = Net(f"{name.removeprefix('com.microsoft.')}_{seed:x}_", row, np.random.default_rng(seed))
    output = write(net)
    if output is None:
        return None
    return Case(f"{name}:{said}", name, row["opset"], tuple(net.nodes), net.feeds, net.constants, output)


def sums(net: Net, terms: int) -> float:
    """How far sums of so many products reach."""
    wide = 2.0 if net.row["zero"] in ("low", "high") else 1.0
    return 2.5 * np.sqrt(terms) * wide**2


@writer("Conv")
def conv(net: Net) -> str:
    x, w = net.real((1, 5, 7, 9)), net.weight((6, 5, 3, 3), 0)
    return net.end(net.node("Conv", x, w, net.bias(6), pads=[1, 0, 1, 1], strides=[1, 2]), sums(net, 45))


@writer("Conv, Relu")
def conv_relu(net: Net) -> str:
    y = net.node("Conv", net.real((1, 8, 5, 5)), net.weight((8, 8, 1, 1), 0))
    return net.end(net.node("Relu", y), sums(net, 8))


@writer("Conv, Clip", since=11)
def conv_clip(net: Net) -> str:
    y = net.node("Conv", net.real((1, 8, 9)), net.weight((4, 8, 2), 0), dilations=[2])
    bounds = [net.constant(np.float32(bound)) for bound in (0, 6)]
    return net.end(net.node("Clip", y, *bounds), 6.0)


@writer("Conv of groups")
def grouped(net: Net) -> str:
    return net.end(net.node("Conv", net.real((2, 8, 5, 5)), net.weight((8, 4, 3, 3), 0), group=2), sums(net, 36))


@writer("depthwise Conv")
def depthwise(net: Net) -> str:
    x, w = net.real((1, 6, 7, 7)), net.weight((6, 1, 3, 3), 0)
    return net.end(net.node("Conv", x, w, net.bias(6), group=6, pads=[1] * 4), sums(net, 9))


@writer("ConvTranspose")
def transposed(net: Net) -> str:
    x, w = net.real((1, 4, 5, 5)), net.weight((4, 3, 3, 3), 1)
    return net.end(net.node("ConvTranspose", x, w, strides=[2, 2]), sums(net, 9))


@writer("Gemm", since=11)
def gemm(net: Net) -> str:
    y = net.node("Gemm", net.real((3, 17)), net.weight((9, 17), 0), net.bias(9), transB=1)
    return net.end(y, sums(net, 17))


@writer("MatMul")
def matmul(net: Net) -> str:
    return net.end(net.node("MatMul", net.real((2, 3, 17)), net.weight((17, 9), 1)), sums(net, 17))


@writer("MatMul of activations")
def products(net: Net) -> str:
    return net.end(net.node("MatMul", net.real((2, 3, 8)), net.real((2, 8, 5), reach=1.0)), sums(net, 8))


def _binary(operator: str, reach: float) -> None:
    @writer(operator, since=13)
    def both(net: Net) -> str:
        constant = net.row["channels"]
        other = net.real((3, 1) if constant else (1, 3, 5), net.row["w"], fed=not constant)
        return net.end(net.node(operator, net.real((1, 3, 5)), other), reach)


for _operator, _reach in (("Add", 8.0), ("Sub", 8.0), ("Mul", 16.0), ("Max", 4.0), ("Min", 4.0)):
    _binary(_operator, _reach)


@writer("Div", since=13)
def division(net: Net) -> str:
    divisor = net.node("Add", net.node("Abs", net.real((1, 3, 5))), net.constant(np.float32(0.5)))
    return net.end(net.node("Div", net.real((1, 3, 5)), divisor), 8.0)


@writer("Concat")
def concat(net: Net) -> str:
    parts = [net.real((1, 3, 5)), net.real((1, 2, 5), reach=3.0), net.real((1, 1, 5), net.row["w"], fed=False)]
    return net.end(net.node("Concat", *parts, axis=1), 4.0)


@writer("Where")
def where(net: Net) -> str:
    condition = net.constant(net.rng.random((3, 5)) < 0.5)
    return net.end(net.node("Where", condition, net.real((3, 5)), net.real((3, 5), reach=3.0)), 4.0)


def _unary(operator: str, reach: float, since: int = 10, shape: tuple[int, ...] = (1, 3, 6, 6), **said: object) -> None:
    @writer(operator, since)
    def one(net: Net) -> str:
        return net.end(net.node(operator, net.real(shape), **said), reach)


_WINDOW = {"kernel_shape": [2, 3], "strides": [2, 1]}
_unary("AveragePool", 4.0, **_WINDOW)
_unary("GlobalAveragePool", 1.0)
_unary("MaxPool", 4.0, **_WINDOW)
_unary("ReduceMean", 1.0)
_unary("Relu", 4.0)
_unary("LeakyRelu", 4.0, alpha=0.1)
_unary("Elu", 4.0)
_unary("HardSigmoid", 1.0)
_unary("HardSwish", 4.0, since=14)
_unary("Sigmoid", 1.0)
_unary("Tanh", 1.0)
_unary("Gelu", 4.0, since=20)
_unary("Softplus", 4.0)
_unary("Softmax", 1.0, since=13, axis=-1)
_unary("DepthToSpace", 4.0, shape=(1, 8, 3, 3), blocksize=2)
_unary("Flatten", 4.0)
_unary("Transpose", 4.0)


@writer("LayerNormalization", since=17)
def layer_normalization(net: Net) -> str:
    gain = net.constant(net.rng.random(6).astype(np.float32))
    return net.end(net.node("LayerNormalization", net.real((2, 5, 6)), gain), 3.0)


@writer("QuantizeLinear again")
def again(net: Net) -> str:
    return net.end(net.real((3, 7)), 3.0)


@writer("QuantizeLinear by channel", since=13)
def by_channel(net: Net) -> str:
    kind = net.row["y"]
    x = net.real((2, 3, 5))
    return net.node("QuantizeLinear", x, *net.parameters(4.0, kind, 3), axis=1) if net.zero(kind) is not None else None


@writer("DequantizeLinear")
def dequantize(net: Net) -> str:
    kind = net.row["x"]
    count, said = (3, {"axis": 1}) if net.row["channels"] else (0, {})
    return net.node(
        "DequantizeLinear", net.stored(kind, (2, 3, 5), fed=True), *net.parameters(4.0, kind, count), **said
    )


@writer("moves")
def moves(net: Net) -> str:
    """A layer whose operands and result are moved between conversions."""
    shape, turned = net.constant(np.array([4, 10])), net.node("Transpose", net.weight((6, 10), 0), perm=[1, 0])
    y = net.node("MatMul", net.node("Reshape", net.real((2, 4, 5)), shape), turned)
    return net.end(net.node("Reshape", y, net.constant(np.array([2, 2, 6]))), sums(net, 10))


@writer("Split", since=13)
def split(net: Net) -> str:
    made = net.node("Split", net.real((2, 6, 3)), net.constant(np.array([2, 4])), outputs=2, axis=1)
    return net.end(net.node("Concat", made.removesuffix("a") + "b", made, axis=1), 4.0)


@writer("Slice, Pad", since=13)
def cut_and_padded(net: Net) -> str:
    bounds = [net.constant(np.array([number])) for number in (1, 5, 1)]
    cut = net.node("Slice", net.real((2, 6, 3)), *bounds)
    return net.end(net.node("Pad", cut, net.constant(np.array([0, 1, 0, 0, 0, 2]))), 4.0)


@writer("Resize", since=13)
def resize(net: Net) -> str:
    scales = net.constant(np.array([1, 1, 2, 1.5], np.float32))
    return net.end(net.node("Resize", net.real((1, 2, 3, 4)), "", scales, mode="nearest"), 4.0)
