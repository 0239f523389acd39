"""Normalisation against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgesparse.backends.cpu.kernels.norm import lower_norm
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST, run_calls
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, several, single


def layer(shape: tuple[int, ...], axis: int = -1, bias: bool = True, **attributes: float) -> Single:
    scales = [random(shape[axis:], seed) for seed in (1, 2)]
    return single("LayerNormalization", [random(shape) + 3], constants=scales[: 1 + bias], axis=axis, **attributes)


def channels(op: str, shape: tuple[int, ...], scales: int, opset: int = 21, **attributes: float) -> Single:
    constants = [random((scales,), seed) for seed in (1, 2)]
    return single(op, [random(shape) + 3], constants=constants, opset=opset, shape=shape, **attributes)


CASES = {
    **{f"layer_{n}": layer((1, 5, n)) for n in (1, 2, 7, 8, 9, 33, 384, 1000)},
    "layer_many_rows": layer((2, 70, 96), epsilon=1e-12),
    "layer_two_axes": layer((3, 4, 5, 6), axis=2),
    "layer_no_bias": layer((3, 33), bias=False),
    "layer_computed_scale": single("LayerNormalization", [random((3, 33)), random((33,), 1), random((33,), 2)]),
    "instance": channels("InstanceNormalization", (2, 5, 7, 9), 5),
    "instance_1d": channels("InstanceNormalization", (2, 5, 100), 5, epsilon=0.01),
    "group": channels("GroupNormalization", (2, 6, 7, 9), 6, num_groups=3),
    "group_old": channels("GroupNormalization", (2, 6, 7, 9), 3, opset=20, num_groups=3),
    "rms": single("RMSNormalization", [random((3, 5, 33))], constants=[random((33,), 1)], opset=23),
}


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_norm_matches_onnxruntime(target: Target) -> None:
    for name, case, y in outputs_of(CASES, target, lower_norm, inplace=(False, True)):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-4, atol=2e-5, err_msg=name)


def test_a_constant_is_scaled_by_what_a_run_gives() -> None:
    node = helper.make_node("LayerNormalization", ["c", "gain", "bias"], ["y"], name="node")
    feeds = {"gain": random((33,), 1), "bias": random((33,), 2)}
    case = several([node], feeds, {"c": random((3, 33))}, shape=(3, 33))

    np.testing.assert_allclose(case.run(), case.judge(), rtol=1e-4, atol=2e-5)


def test_variance_survives_a_large_mean() -> None:
    x = (random((4, 384)) + 1000).astype(np.float32)
    case = single("LayerNormalization", [x], constants=[np.ones(384, np.float32)])

    calls = lower_norm(case.node, HOST)
    assert calls is not None

    exact = x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64)
    expected = exact / np.sqrt((exact**2).mean(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(run_calls(calls, case.inputs)["y"], expected, atol=2e-4)


@pytest.mark.parametrize(
    "case",
    [
        single("LpNormalization", [random((2, 3))]),
        single("LayerNormalization", [random((2, 3))], constants=[random((1,))]),
    ],
    ids=["other_norm", "broadcast_scale"],
)
def test_other_nodes_are_declined(case: Single) -> None:
    assert lower_norm(case.node, HOST) is None
