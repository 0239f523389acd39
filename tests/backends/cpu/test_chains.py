"""Compiling is bounded: a hundred nodes one behind another take less than a minute of CPU, whatever they are."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse import frontend
from edgesparse.backends.cpu import supports
from edgesparse.backends.cpu.assemble import assemble
from edgesparse.backends.cpu.relax.builder import names
from tests.backends.cpu.executor import HOST
from tests.backends.cpu.planned import lowered_without_layers
from tests.backends.cpu.single import random

NODES, LIMIT_S = 100, 60
SHAPE = (7, 9)


@dataclass(frozen=True)
class Chain:
    """Nodes whose inputs `links` are results of the one before, and of the one before that.

    `others` are the other inputs, of the model or (`fixed`) constants; None is an input that is absent.
    """

    op: str
    dtype: str = "float32"
    links: tuple[int, ...] = (0,)
    others: tuple[np.ndarray | None, ...] = ()
    fixed: bool = False
    shape: tuple[int, ...] = SHAPE
    attributes: dict[str, Any] = field(default_factory=dict)
    every: Sequence[tuple[np.ndarray, ...]] = ()  # other inputs that take turns

    def __str__(self) -> str:
        words = [self.op, self.dtype, *map(str, self.attributes.values()), "linked" * (len(self.links) > 1)]
        return " ".join(filter(None, words))

    def model(self, count: int) -> ir.Model:
        """`count` nodes."""
        arrays: dict[str, np.ndarray] = {}
        nodes, results = [], ["x", "x"]
        for number in range(count):
            others = self.every[number % len(self.every)] if self.every else self.others
            names = [f"c{number % max(1, len(self.every))}_{at}" for at in range(len(others))]
            arrays |= {name: array for name, array in zip(names, others, strict=True) if array is not None}
            inputs = ["" if array is None else name for name, array in zip(names, others, strict=True)]
            for at, link in enumerate(self.links):
                inputs.insert(link, results[-1 - at])
            results.append(f"y{number}")
            outputs = [results[-1], *([f"places{number}"] if self.op == "TopK" else [])]
            nodes.append(helper.make_node(self.op, inputs, outputs, name=f"n{number}", **self.attributes))
        held = {} if self.fixed or self.every else arrays
        feeds = [_info("x", self.dtype, self.shape), *(_info(n, a.dtype, a.shape) for n, a in held.items())]
        weights = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in held]
        graph = helper.make_graph(nodes, "chain", feeds, [_info(results[-1], self.dtype)], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return ir.serde.deserialize_model(model)


def _info(name: str, dtype: np.typing.DTypeLike, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


UNARY = sorted(
    names(
        """
        Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Hardmax Identity
        LeakyRelu Log LogSoftmax LpNormalization Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
        Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
        """
    )
)
FLOATS = sorted(names("Add Div Max Mean Min Mul Pow PRelu Sub Sum"))
INTEGERS = sorted(names("Add Div Max Min Mod Mul Pow Sub"))
BITS = sorted(names("BitShift BitwiseAnd BitwiseOr BitwiseXor"))
BOOLS = sorted(names("And Equal Or Xor"))


def chains() -> list[Chain]:
    """Every operator whose result it can take again."""
    found = [Chain(op) for op in UNARY]
    found += [Chain(op, "float16") for op in ("Exp", "Gelu", "Relu", "Softmax")]
    found += [Chain(op, "float64") for op in ("Exp", "LogSoftmax", "Tanh")]
    kinds = (FLOATS, "float32"), (INTEGERS, "int64"), (INTEGERS, "int32"), (BITS, "uint32"), (BOOLS, "bool")
    for ops, dtype in kinds:
        for op in ops:
            attributes = {"direction": "LEFT"} if op == "BitShift" else {}
            other = np.ones(SHAPE, dtype)
            found.append(Chain(op, dtype, others=(other,), attributes=attributes))
            found.append(Chain(op, dtype, links=(0, 1), attributes=attributes))
    found.append(Chain("Mod", links=(0, 1), attributes={"fmod": 1}))
    found.append(Chain("Pow", "int64", others=(np.array(3),), fixed=True))
    found += [Chain("Clip", dtype, others=(np.array(-1, dtype), np.array(1, dtype))) for dtype in ("float32", "int32")]
    found.append(Chain("Clip", "float64", others=(np.array(-1.0), np.array(1.0)), fixed=True))
    found.append(Chain("Where", links=(1, 2), others=(np.ones(SHAPE, bool),)))
    found += moving()
    return found


def moving() -> list[Chain]:
    """Operators that pick, move and fold elements."""
    image, grid = (1, 2, 6, 6), np.zeros((1, 6, 6, 2), np.float32)
    places = np.zeros(SHAPE, np.int64)
    doubled, halved = ((None, None, np.array([1, 2, n, n])) for n in (12, 6))
    return [
        Chain("CumSum", others=(np.array(1),), fixed=True),
        Chain("Gather", others=(np.arange(7),)),
        Chain("GatherElements", others=(places,)),
        Chain("GridSample", others=(grid,), shape=image),
        Chain("ReverseSequence", others=(np.full(7, 9),), attributes={"time_axis": 1, "batch_axis": 0}),
        Chain("Resize", shape=image, attributes={"mode": "linear"}, every=(doubled, halved)),
        Chain("Resize", shape=image, attributes={"mode": "cubic"}, every=(doubled, halved)),
        Chain("ScatterElements", others=(places, random(SHAPE))),
        Chain("ScatterND", others=(np.zeros((7, 1), np.int64), random(SHAPE))),
        Chain("TopK", others=(np.array([9]),), fixed=True),
        Chain("Transpose", shape=(9, 9), attributes={"perm": [1, 0]}),
        Chain("Trilu", others=(np.array(1),), fixed=True),
        Chain("LRN", shape=image, attributes={"size": 3}),
        Chain("MaxPool", shape=image, attributes={"kernel_shape": [3, 3], "pads": [1] * 4}),
        Chain("AveragePool", shape=image, attributes={"kernel_shape": [3, 3], "pads": [1] * 4}),
        Chain("InstanceNormalization", others=(np.ones(2, np.float32),) * 2, fixed=True, shape=image),
        Chain("LayerNormalization", others=(np.ones(9, np.float32),) * 2, fixed=True),
        Chain("MeanVarianceNormalization", shape=image),
        Chain("Pad", others=(np.array([1, 0, -1, 0]),), fixed=True, attributes={"mode": "edge"}),
        Chain("MatMul", others=(random((9, 9)),)),
    ]


def cpu_seconds(chain: Chain, count: int) -> float:
    """CPU time of compiling a chain in a process of its own, linker included; infinite beyond the limit."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (3 * LIMIT_S, 3 * LIMIT_S))
        try:
            model = frontend.load(chain.model(count), supports=supports)
            assemble(lowered_without_layers(model, HOST), HOST)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return float("inf")
    assert status == 0
    return used.ru_utime + used.ru_stime


SAMPLE = ("Acosh float32", "Max float32 linked", "Mod int64 linked", "Pow int64 linked")


def marked() -> list[Any]:
    """All chains; those that are no sample are slow."""
    return [
        pytest.param(c, id=str(c), marks=[] if str(c) in SAMPLE else [pytest.mark.slow(part="sweeps")])
        for c in chains()
    ]


@pytest.mark.parametrize("chain", marked())
def test_a_hundred_nodes_compile_within_a_minute(chain):
    assert cpu_seconds(chain, NODES) < LIMIT_S
