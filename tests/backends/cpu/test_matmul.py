"""Products of activations against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.matmul import Product, lower_matmul, product_of
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST, run_calls
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, single

SHAPES = {
    "scores": ((1, 3, 128, 32), (1, 3, 32, 128)),
    "context": ((1, 3, 128, 128), (1, 3, 128, 32)),
    "odd": ((1, 3, 197, 64), (1, 3, 64, 197)),
    "packed": ((150, 200), (200, 170)),
    "packed_tail": ((64, 300), (300, 65)),
    "many_panels": ((40, 130), (130, 333)),
    "one_column": ((2, 33, 40), (2, 40, 1)),
    "one_row": ((2, 1, 40), (2, 40, 33)),
    "one_each": ((1, 5), (5, 1)),
    "k_1": ((9, 1), (1, 9)),
    "vector_left": ((7,), (3, 7, 5)),
    "vector_right": ((3, 5, 7), (7,)),
    "broadcast_left": ((5, 7), (4, 2, 7, 6)),
    "broadcast_right": ((4, 2, 5, 7), (7, 6)),
    "broadcast_both": ((4, 1, 5, 7), (1, 3, 7, 6)),
    "broadcast_inner": ((2, 3, 1, 5, 7), (2, 1, 4, 7, 6)),
    **{f"n_{n}": ((2, 9, 17), (2, 17, n)) for n in (2, 3, 7, 8, 9, 15, 17, 31, 33, 65)},
    **{f"m_{m}": ((2, m, 9), (2, 9, 20)) for m in (2, 5, 6, 7, 8, 11, 12, 13, 25)},
}


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_matmul_matches_onnxruntime(target: Target) -> None:
    cases = {name: single("MatMul", [random(a), random(b, 1)]) for name, (a, b) in SHAPES.items()}

    for name, case, y in outputs_of(cases, target, lower_matmul):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_constants_may_be_operands() -> None:
    case = single("MatMul", [random((3, 5, 7))], constants=[random((3, 7, 9), 1)])

    calls = lower_matmul(case.node, HOST)
    assert calls is not None

    np.testing.assert_allclose(run_calls(calls, case.inputs)["y"], case.judge(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((2, 3, 4, 5), (2, 3, 5, 6), Product(4, 5, 6, ((6, 20, 30),), F32)),
        ((2, 3, 4, 5), (5, 6), Product(24, 5, 6, (), F32)),
        ((2, 1, 4, 5), (3, 5, 6), Product(4, 5, 6, ((2, 20, 0), (3, 0, 30)), F32)),
    ],
)
def test_batch_axes_merge(a: tuple[int, ...], b: tuple[int, ...], expected: Product) -> None:
    assert product_of(a, b, F32) == expected


@pytest.mark.parametrize(
    "case",
    [single("Relu", [random((2, 3))]), single("MatMul", [np.zeros((2, 3), np.int64), np.zeros((3, 2), np.int64)])],
    ids=["not_a_matmul", "integers"],
)
def test_other_nodes_are_declined(case: Single) -> None:
    assert lower_matmul(case.node, HOST) is None
