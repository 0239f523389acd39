"""Softmax and LogSoftmax against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.softmax import lower_softmax
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST, run_calls
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, single

SHAPES = {
    "attention": ((1, 3, 17, 128), -1),
    "short_tail": ((5, 33), 1),
    "one": ((5, 1), 1),
    "seven": ((3, 7), 1),
    "nine": ((70, 9), 1),
    "classes": ((1, 1000), 1),
    "long": ((2, 5003), 1),
    "channels": ((2, 21, 5, 7), 1),
    "channels_few": ((2, 3, 3), 1),
    "first": ((4, 64), 0),
}


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_matches_onnxruntime(op: str, target: Target) -> None:
    cases = {name: single(op, [random(shape) * 5], axis=axis) for name, (shape, axis) in SHAPES.items()}

    for name, case, y in outputs_of(cases, target, lower_softmax, inplace=(False, True)):
        np.testing.assert_allclose(y, case.judge(), rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("count", [8, 300])
def test_masked_entries_get_exactly_zero(count: int) -> None:
    x = random((2, count))
    x[:, 3:] = -np.inf
    x[1, 3:] = -1e9
    case = single("Softmax", [x])

    calls = lower_softmax(case.node, HOST)
    assert calls is not None
    y = run_calls(calls, case.inputs)["y"]

    assert (y[:, 3:] == 0).all()
    np.testing.assert_allclose(y, case.judge(), rtol=2e-6)


def test_large_inputs_do_not_overflow() -> None:
    case = single("Softmax", [np.array([[1e30, 1e30, 3e38, -3e38]], np.float32)])

    calls = lower_softmax(case.node, HOST)
    assert calls is not None

    np.testing.assert_array_equal(run_calls(calls, case.inputs)["y"], [[0, 0, 1, 0]])


def test_old_opsets_flatten_the_axes_behind() -> None:
    case = single("Softmax", [random((2, 3, 4))], opset=11)

    calls = lower_softmax(case.node, HOST)
    assert calls is not None

    np.testing.assert_allclose(run_calls(calls, case.inputs)["y"], case.judge(), rtol=2e-6)


@pytest.mark.parametrize("case", [single("Relu", [random((2, 3))])], ids=["not_a_softmax"])
def test_other_nodes_are_declined(case: Single) -> None:
    assert lower_softmax(case.node, HOST) is None
