"""Attention as one kernel, against ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from onnx import NodeProto, helper

from edgesparse.devices.targets import Target
from edgesparse.graph.attention import attention_of
from edgesparse.numerics import F32
from tests.backends.cpu.single import (
    ARM,
    WIDE,
    Single,
    outputs_of,
    random,
    runnable_targets,
    several,
    undefined_symbols,
)


@dataclass(frozen=True)
class Case:
    """Sizes of an attention, the shape of its mask, and whether the mask is a constant."""

    batch: tuple[int, ...]  # and heads
    queries: int
    keys: int
    width: int
    value_width: int
    mask: tuple[int, ...] | None = None
    scaled: bool = False
    guarded: bool = False
    constant: bool = False


CASES = {
    "minilm": Case((1, 12), 128, 128, 32, 32, (1, 1, 128, 128), guarded=True),
    "vit": Case((1, 6), 197, 197, 64, 64),
    "4_queries": Case((2, 3), 4, 9, 7, 5),
    "7_queries": Case((2, 3), 7, 33, 8, 9, (2, 1, 1, 33), scaled=True),
    "8_queries": Case((1, 3), 8, 1, 1, 1, (1, 3, 8, 1)),
    "9_queries": Case((2, 2), 9, 7, 9, 1, (2, 2, 9, 7), scaled=True, guarded=True),
    "33_queries": Case((2, 1), 33, 33, 33, 7, (33, 33), constant=True),
    "mask_over_keys": Case((2, 3), 9, 17, 8, 8, (17,)),
    "mask_over_queries": Case((1, 3), 9, 17, 8, 8, (9, 1)),
    "mask_over_heads": Case((2, 3), 9, 17, 8, 8, (3, 1, 1)),
    "mask_of_one": Case((2, 3), 9, 17, 8, 8, (1, 1, 1, 1)),
    "mask_is_a_number": Case((2, 3), 9, 17, 8, 8, (), constant=True),
    "rank_3": Case((5,), 17, 9, 8, 12, (5, 17, 9)),
    "long": Case((1, 1), 40, 1500, 16, 16),
}


def model(case: Case, seed: int = 0) -> Single:
    q = random((*case.batch, case.queries, case.width), seed)
    k = random((*case.batch, case.width, case.keys), seed + 1)
    v = random((*case.batch, case.keys, case.value_width), seed + 2)
    nodes = [helper.make_node("MatMul", ["q", "k"], ["s0"])]
    inputs, constants, last = {"q": q, "k": k, "v": v}, {"zero": np.float32(0)}, "s0"

    def append(op: str, *operands: str) -> None:
        nonlocal last
        nodes.append(helper.make_node(op, [last, *operands], [f"s{len(nodes)}"]))
        last = f"s{len(nodes) - 1}"

    if case.scaled:
        constants["scale"] = np.float32(0.3)
        append("Mul", "scale")
    if case.mask is not None:
        (constants if case.constant else inputs)["mask"] = random(case.mask, seed + 3)
        append("Add", "mask")
    append("Softmax")
    if case.guarded:
        nodes.append(helper.make_node("IsNaN", [last], ["test"]))
        nodes.append(helper.make_node("Where", ["test", "zero", last], ["guarded"]))
        last = "guarded"
    nodes.append(helper.make_node("MatMul", [last, "v"], ["y"]))
    return several(nodes, inputs, constants)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_attention_matches_onnxruntime(target: Target) -> None:
    cases = {name: model(case) for name, case in CASES.items()}

    for name, case, y in outputs_of(cases, target):
        assert sum("Softmax" in call.op and "MatMul" in call.op for call in case.lowered(target).calls) == 1, name
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_guarded_query_without_keys_gives_zeros(target: Target) -> None:
    case = model(Case((1, 2), 17, 9, 8, 5, (17, 9), guarded=True))
    case.inputs["mask"][3] = -np.inf
    case.inputs["mask"][5, 2:] = -np.inf

    y = case.run(target)

    assert (y[:, :, 3] == 0).all()
    np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-5)


def test_query_without_keys_gives_nan_without_a_guard() -> None:
    case = model(Case((1, 2), 17, 9, 8, 5, (17, 9)))
    case.inputs["mask"][3] = -np.inf

    y = case.run()

    np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-5)
    assert np.isnan(y[:, :, 3]).all()


def test_operands_that_linear_layers_store_are_not_transposed() -> None:
    nodes = [
        *(helper.make_node("Transpose", [f"{x}c"], [x], perm=[0, 2, 1]) for x in "qv"),
        helper.make_node("MatMul", ["q", "k"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["yc"]),
        helper.make_node("Transpose", ["yc"], ["y"], perm=[0, 2, 1]),
    ]
    case = several(nodes, {"qc": random((3, 8, 9)), "k": random((3, 8, 17), 1), "vc": random((3, 5, 17), 2)}, {})

    assert [call.op for call in case.lowered().calls] == ["MatMul+Softmax+MatMul"]
    np.testing.assert_allclose(case.run(), case.judge(), rtol=1e-5, atol=1e-5)


def _node(op: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


@pytest.mark.parametrize(
    "nodes",
    [
        [_node("MatMul", "q k", "s"), _node("Softmax", "s", "p", axis=-2), _node("MatMul", "p v", "y")],
        [_node("MatMul", "q k", "s"), _node("Softmax", "s", "p"), _node("MatMul", "p p", "y")],
        [_node("MatMul", "q k", "s"), _node("Softmax", "s", "p"), _node("MatMul", "v p", "y")],
        [_node("MatMul", "q k", "s"), _node("Relu", "s", "r"), _node("Softmax", "r", "p"), _node("MatMul", "p v", "y")],
        [
            _node("MatMul", "q k", "s"),
            _node("Add", "s m", "a"),
            _node("Mul", "a two", "b"),
            _node("Softmax", "b", "p"),
            _node("MatMul", "p v", "y"),
        ],
        [_node("MatMul", "q k1", "s"), _node("Softmax", "s", "p"), _node("MatMul", "p v", "y")],
    ],
    ids=["other_axis", "squared", "left", "activated", "scaled_mask", "shared_keys"],
)
def test_other_graphs_are_declined(nodes: list[NodeProto]) -> None:
    inputs = {"q": random((2, 8, 8)), "k": random((2, 8, 8), 1), "k1": random((1, 8, 8)), "v": random((2, 8, 8), 2)}
    case = several(nodes, inputs | {"m": random((8, 8), 3)}, {"two": np.float32(2)})

    assert attention_of(case.node, set()) is None
    np.testing.assert_allclose(case.run(), case.judge(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", [WIDE, *ARM], ids=lambda t: t.name)
def test_kernel_needs_no_library(target: Target) -> None:
    calls = model(CASES["9_queries"]).lowered(target).calls

    assert undefined_symbols([call.kernel for call in calls], target) == set()
