"""Arithmetic has one result on every target, whatever the values: zeros, limits, infinities, NaN.

Every operator, for every element type and pair of values at its limits, is a node of one model; each target compiles it
once. The judge is numpy on Python's exact integers, and what ONNX Runtime defines for NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse.backends.cpu.assemble import assemble
from edgesparse.package.writer import write
from tests.backends.cpu.executor import HOST
from tests.backends.cpu.planned import lowered_without_layers
from tests.backends.cpu.single import ARM
from tests.e2e.flow import Arrays, esrun

SIGNED, UNSIGNED = ("int8", "int16", "int32", "int64"), ("uint8", "uint16", "uint32", "uint64")
INTEGERS, FLOATS = (*SIGNED, *UNSIGNED), ("float16", "float32", "float64")


def limits(dtype: str) -> tuple[int, int]:
    return (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def extremes(dtype: str) -> np.ndarray:
    """Values at the limits of a type and around 0."""
    if dtype in FLOATS:
        largest = float(np.finfo(dtype).max)
        whole = [s * (2.0**p + d) for p in (7, 8, 15, 16, 31, 32, 63, 64) for s in (1, -1) for d in (-1, 0, 1)]
        rest = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 0.9, -0.9, 1.0, -1.0, math.inf, -math.inf, math.nan, largest, -largest]
        with np.errstate(over="ignore"):
            return np.array(rest + whole, dtype)
    low, high = limits(dtype)
    bits = np.dtype(dtype).itemsize * 8
    every = [low, low + 1, -3, -2, -1, 0, 1, 2, 3, 5, bits - 1, bits, bits + 1, high // 2, high - 1, high]
    return np.array(sorted({value for value in every if low <= value <= high}), dtype)


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Every extreme value with every other."""
    values = extremes(dtype)
    if dtype in FLOATS:
        values = values[:20]
    a, b = np.meshgrid(values, values, indexing="ij")
    return a.reshape(-1), b.reshape(-1)


def wrapped(exact: Callable[[int, int], int]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What is left of exact integers in the type of the operands."""

    def compute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        bits = a.dtype.itemsize * 8
        results = [exact(int(x), int(y)) % 2**bits for x, y in zip(a, b, strict=True)]
        return np.array(results, f"uint{bits}").view(a.dtype)

    return compute


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def shifted(left: bool) -> Callable[[int, int], int]:
    return lambda a, b: (a << min(b, 64)) if left else (a >> min(b, 64))


INTEGER_PAIRS = {
    "Add": (wrapped(lambda a, b: a + b), {}),
    "Sub": (wrapped(lambda a, b: a - b), {}),
    "Mul": (wrapped(lambda a, b: a * b), {}),
    "Div": (wrapped(truncated), {}),
    "Mod": (wrapped(lambda a, b: a % b), {"fmod": 0}),
    "Mod/fmod": (wrapped(lambda a, b: a - b * truncated(a, b)), {"fmod": 1}),
    "Max": (np.maximum, {}),
    "Min": (np.minimum, {}),
    "Less": (np.less, {}),
    "Equal": (np.equal, {}),
}
FLOAT_PAIRS = {"Max": (np.maximum, {}), "Min": (np.minimum, {}), "Less": (np.less, {}), "Equal": (np.equal, {})}
BOOLEAN_PAIRS = {
    "And": (np.logical_and, {}),
    "Or": (np.logical_or, {}),
    "Xor": (np.logical_xor, {}),
    "Equal": (np.equal, {}),
}


class Sweep:
    """A model of many nodes, the values of its inputs, and what its outputs are."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.feeds: Arrays = {}
        self.constants: Arrays = {}
        self.expected: Arrays = {}

    def add(self, op: str, inputs: Arrays, expected: np.ndarray, label: str = "", **attributes: object) -> None:
        """One node; inputs of one name are one input of the model, or a constant where the name starts with "c"."""
        self.feeds.update({name: array for name, array in inputs.items() if name[0] != "c"})
        self.constants.update({name: array for name, array in inputs.items() if name[0] == "c"})
        name = "_".join([op.replace("/", "_"), *inputs, label])
        self.nodes.append(helper.make_node(op.split("/")[0], list(inputs), [name], name=name, **attributes))
        self.expected[name] = expected

    def model(self) -> ir.Model:
        def info(arrays: Arrays) -> list[onnx.ValueInfoProto]:
            kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
            return [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in arrays.items()]

        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "sweep", info(self.feeds), info(self.expected), constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return ir.serde.deserialize_model(model)


def saturated(values: np.ndarray, dtype: str) -> np.ndarray:
    low, high = limits(dtype)
    exact = [0 if math.isnan(v) else max(low, min(high, int(max(-1e30, min(1e30, v))))) for v in map(float, values)]
    return np.array(exact, dtype)


@cache
def sweep() -> Sweep:
    found = Sweep()
    for dtype in (*INTEGERS, *FLOATS, "bool"):
        a, b = pairs(dtype) if dtype != "bool" else (np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool))
        table = BOOLEAN_PAIRS if dtype == "bool" else FLOAT_PAIRS if dtype in FLOATS else INTEGER_PAIRS
        for op, (judge, attributes) in table.items():
            divides = op in ("Div", "Mod", "Mod/fmod")
            x, y = (a[b != 0], b[b != 0]) if divides else (a, b)
            suffix = "_d" if divides else ""
            found.add(op, {f"a_{dtype}{suffix}": x, f"b_{dtype}{suffix}": y}, judge(x, y), **attributes)
    for dtype in INTEGERS:
        a = extremes(dtype)
        for number in (3, 7, 8) if dtype in UNSIGNED else (3, 7, 8, -7, -1):
            for op in ("Div", "Mod", "Mod/fmod"):
                judge, attributes = INTEGER_PAIRS[op]
                divisor = np.array([number], dtype)
                operands = {f"x_{dtype}": a, f"c{number}_{dtype}": divisor}
                found.add(op, operands, judge(a, np.broadcast_to(divisor, a.shape)), **attributes)
    for dtype in UNSIGNED:
        a, b = pairs(dtype)
        for direction in ("LEFT", "RIGHT"):
            judge = wrapped(shifted(direction == "LEFT"))
            found.add("BitShift", {f"a_{dtype}": a, f"b_{dtype}": b}, judge(a, b), direction, direction=direction)
    for dtype in SIGNED:
        values = {f"a_{dtype}": pairs(dtype)[0]}
        (a,) = values.values()
        found.add("Neg", values, wrapped(lambda x, _: -x)(a, a))
        found.add("Abs", values, wrapped(lambda x, _: abs(x))(a, a))
    for dtype in INTEGERS:
        values = {f"a_{dtype}": pairs(dtype)[0]}
        (a,) = values.values()
        found.add("Sign", values, np.sign(a))
    for source in (*FLOATS, *INTEGERS):
        values = extremes(source)
        for to in (*INTEGERS, *FLOATS, "bool"):
            with np.errstate(over="ignore", invalid="ignore"):
                result = saturated(values, to) if source in FLOATS and to in INTEGERS else values.astype(to)
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(to))
            found.add("Cast", {f"x_{source}": values}, result, to, to=kind)
    return found


def is_same(actual: np.ndarray, expected: np.ndarray) -> bool:
    same_type = actual.dtype == expected.dtype
    return same_type and np.array_equal(actual, expected, equal_nan=expected.dtype.kind == "f")


def assert_same(actual: Arrays, expected: Arrays) -> None:
    wrong = [name for name, value in expected.items() if not is_same(actual[name], value)]
    shown = [f"{name}: {actual[name].tolist()}, expected {expected[name].tolist()}" for name in wrong[:5]]
    assert not wrong, f"{len(wrong)} of {len(expected)}: {'; '.join(shown)}"


@pytest.mark.parametrize("target", [HOST, ARM[1]], ids=lambda target: target.cpu.isa)
def test_arithmetic_is_the_same_on_every_target(target, tmp_path):
    found = sweep()
    write([assemble(lowered_without_layers(found.model(), target), target)], {}, tmp_path / "model.esp")

    actual = esrun(tmp_path / "model.esp", target.cpu.isa, found.feeds, tmp_path)

    assert_same(actual, found.expected)
