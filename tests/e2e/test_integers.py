"""Networks of stored integers, whole: the same bits on every target, and those of ONNX Runtime but for its rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgesparse
from edgesparse.devices import targets
from edgesparse.devices.host import detect
from edgesparse.devices.targets import Target
from edgesparse.package.reader import read
from tests.models import ort_run


class Net:
    """A network that quantizes around every operator, as quantizers write it; bytes of activations are `kind`."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.rng, self.kind = np.random.default_rng(seed), np.dtype(kind)
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.count = 0

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        self.count += 1
        self.nodes.append(helper.make_node(op, inputs, [f"v{self.count}"], f"n{self.count}", **attributes))
        return f"v{self.count}"

    def scales(self, scale: float, zero: int) -> tuple[str, str]:
        return self.constant(np.float32(scale)), self.constant(self.kind.type(zero))

    def around(self, real: str, scale: float, zero: int = 3) -> str:
        """What is left of a value after it was quantized."""
        by = self.scales(scale, zero)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", real, *by), *by)

    def weight(self, *shape: int, axis: int = 0, density: float = 1.0) -> tuple[str, np.ndarray]:
        w = self.rng.integers(-127, 128, shape).astype(np.int8)
        w[self.rng.random(shape) >= density] = 0
        scale = self.rng.uniform(0.002, 0.01, shape[axis]).astype(np.float32)
        zero = self.constant(np.zeros(shape[axis], np.int8))
        return self.node("DequantizeLinear", self.constant(w), self.constant(scale), zero, axis=axis), scale

    def conv(self, x: str, x_scale: float, *shape: int, density: float = 1.0, **attributes: object) -> str:
        w, scale = self.weight(*shape, density=density)
        bias = self.rng.integers(-2000, 2000, shape[0]).astype(np.int32)
        by = self.constant(np.float32(x_scale) * scale)
        b = self.node("DequantizeLinear", self.constant(bias), by, axis=0)
        return self.node("Conv", x, w, b, **attributes)

    def model(self, x: tuple[int, ...], y: str, shape: tuple[int, ...]) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x)
        result = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "net", [given], [result], self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def convolutions(kind: str) -> onnx.ModelProto:
    """A first layer of 3 channels, a strided one, depthwise ones, a residual sum, pools, and a classifier."""
    net = Net(kind)
    x = net.around("x", 0.02, 5)
    y = net.around(net.node("Relu", net.conv(x, 0.02, 12, 3, 3, 3, pads=[1, 1, 1, 1])), 0.03)
    y = net.around(net.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 0.03)
    short = y
    y = net.around(net.conv(y, 0.03, 33, 12, 1, 1, density=0.2), 0.05, 7)
    y = net.around(net.node("Clip", y, net.constant(np.float32(0)), net.constant(np.float32(6))), 0.025)
    y = net.around(net.conv(y, 0.025, 33, 1, 3, 3, group=33, pads=[1, 1, 1, 1]), 0.03, 9)
    y = net.around(net.conv(y, 0.03, 12, 33, 1, 1), 0.06, 1)
    y = net.around(net.node("Relu", net.node("Add", y, short)), 0.05)
    y = net.around(net.conv(y, 0.05, 8, 12, 5, 5, strides=[2, 2], pads=[2, 2, 2, 2]), 0.09, 2)
    y = net.around(net.node("AveragePool", y, kernel_shape=[2, 2], strides=[1, 1]), 0.07, 2)
    y = net.around(net.node("GlobalAveragePool", y), 0.05, 2)
    y = net.node("Flatten", y)
    w, _ = net.weight(8, 10, axis=1)
    y = net.around(net.node("MatMul", y, w), 0.08)
    return net.model((1, 3, 17, 19), y, (1, 10))


def tokens(kind: str) -> onnx.ModelProto:
    """Two linear layers over tokens, with a function in floats between."""
    net = Net(kind, 1)
    x = net.around("x", 0.02, 5)
    w, _ = net.weight(20, 36, axis=1, density=0.3)
    y = net.around(net.node("Add", net.node("MatMul", x, w), net.constant(np.ones(36, np.float32))), 0.04)
    y = net.around(net.node("Sigmoid", y), 0.004)
    w, _ = net.weight(36, 7, axis=1)
    return net.model((1, 9, 20), net.node("MatMul", y, w), (1, 9, 7))


def heads(kind: str) -> onnx.ModelProto:
    """Stored tables that are operands, and integers that are seen in other shapes, as attention has them."""
    net = Net(kind, 2)
    x = net.around("x", 0.02, 5)
    table = net.constant(net.rng.integers(0, 100, (1, 9, 20)).astype(net.kind))
    table = net.node("DequantizeLinear", table, *net.scales(0.03, 7))
    x = net.around(net.node("Add", table, x), 0.05)
    second = net.constant(net.rng.integers(0, 100, (1, 9, 20)).astype(net.kind))
    x = net.around(net.node("Mul", x, net.node("DequantizeLinear", second, *net.scales(0.01, 9))), 0.05)
    w, _ = net.weight(20, 20, axis=1, density=0.3)
    y = net.around(net.node("MatMul", x, w), 0.05)
    y = net.node("Reshape", y, net.constant(np.array([3, 3, 20])))
    y = net.around(net.node("Relu", y), 0.05)
    y = net.node("Reshape", y, net.constant(np.array([9, 20])))
    w, _ = net.weight(20, 20, axis=1)
    y = net.around(net.node("MatMul", y, w), 0.05)
    y = net.around(net.node("Add", y, net.constant(net.rng.normal(size=20).astype(np.float32))), 0.05)
    y = net.node("Reshape", y, net.constant(np.array([1, 9, 4, 5])))
    y = net.node("Transpose", net.around(y, 0.05), perm=[0, 2, 3, 1])
    masked = net.node("Add", y, net.constant(np.float32([0, 0, -3e38, 0, 0, 0, 0, 0, -3e38])))
    y = net.node("Mul", net.around(masked, 1.2e36, 100), net.constant(np.float32(1e-36)))
    return net.model((1, 9, 20), y, (1, 4, 5, 9))


MODELS = {"convolutions": convolutions, "tokens": tokens, "heads": heads}


def vnni() -> Target | None:
    """A target with dot products that this machine runs, if it does."""
    known = map(targets.load, ("x86-64-v4-vnni", "x86-64-v3-vnni"))
    return next((target for target in known if not detect().why_not("x86_64", target.cpu.requires)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("integers")


def outputs(model: onnx.ModelProto, target: Target | str, folder: Path) -> np.ndarray:
    path = folder / "model.esp"
    edgesparse.compile(model, target, path)
    (found,) = edgesparse.run(path, inputs=feeds(model)).values()
    return found


def feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(5).normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_integers_are_those_of_onnx_runtime_on_an_emulated_board(name: str, kind: str, folder: Path) -> None:
    model = MODELS[name](kind)
    (expected,) = ort_run(model, feeds(model))
    found = outputs(model, "rpi5", folder)
    step = 0.08 if name == "convolutions" else float(np.abs(expected).max()) * 1e-2
    assert np.abs(found - expected).max() <= 2.01 * step
    assert np.mean(np.abs(found - expected) > 1e-4 * np.abs(expected).max()) <= 0.2
    machine = vnni()
    if machine is not None:
        assert np.array_equal(outputs(model, machine, folder), found), "the bits of two machines differ"


def test_conversions_are_left_at_the_ends_alone(folder: Path) -> None:
    path = folder / "ends.esp"
    edgesparse.compile(convolutions("uint8"), "rpi5", path)
    ops = [step.op for step in read(path).programs[0].steps]
    assert [op for op in ops if "Linear" in op] == ["QuantizeLinear", "DequantizeLinear"]
    assert (ops[0], ops[-1]) == ("QuantizeLinear", "DequantizeLinear")


def odd(kind: str) -> onnx.ModelProto:
    """Sums of scalars, a value twice, integers as inputs and outputs."""
    net = Net(kind)
    by = net.scales(0.05, 3)
    whole = net.around("x", 0.02)
    twice = net.node("QuantizeLinear", net.node("Add", whole, net.node("DequantizeLinear", "q", *by)), *by)
    first = net.node("ReduceMax", whole, keepdims=0)
    point = net.around(net.node("Add", net.around(first, 0.01), net.around(first, 0.02)), 0.03)
    stored = TensorProto.UINT8 if kind == "uint8" else TensorProto.INT8
    model = net.model((2, 5, 3), point, ())
    model.graph.input.append(helper.make_tensor_value_info("q", stored, (2, 5, 3)))
    model.graph.output.append(helper.make_tensor_value_info(twice, stored, (2, 5, 3)))
    return model


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_odd_shapes_are_what_onnx_runtime_gives(kind: str, folder: Path) -> None:
    model, rng = odd(kind), np.random.default_rng(6)
    given = {"x": rng.normal(size=(2, 5, 3)).astype(np.float32), "q": rng.integers(0, 100, (2, 5, 3)).astype(kind)}
    edgesparse.compile(model, "rpi5", folder / "odd.esp")
    found = edgesparse.run(folder / "odd.esp", inputs=given)
    for name, expected in zip(found, ort_run(model, given), strict=True):
        assert np.array_equal(found[name], expected), name
