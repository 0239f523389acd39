"""Depthwise convolution against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgesparse.devices.targets import Target
from edgesparse.graph.ops import depthwise_window
from edgesparse.numerics import F32
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, several, single


def convolution(
    x: tuple[int, ...], kernel: tuple[int, ...], *, multiplier: int = 1, bias: bool = True, **attributes: object
) -> Single:
    channels = x[1] * multiplier
    constants = [random((channels, 1, *kernel), 1)] + ([random((channels,), 2)] if bias else [])
    return single("Conv", [random(x)], constants=constants, group=x[1], kernel_shape=kernel, **attributes)


CASES = {
    "3x3": convolution((1, 5, 14, 14), (3, 3), pads=[1, 1, 1, 1]),
    "3x3_7": convolution((1, 9, 7, 7), (3, 3), pads=[1, 1, 1, 1], bias=False),
    "3x3_stride_2": convolution((1, 3, 56, 56), (3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
    "3x3_stride_2_same_upper": convolution((1, 3, 28, 28), (3, 3), pads=[0, 0, 1, 1], strides=[2, 2]),
    "3x3_stride_2_odd": convolution((2, 3, 33, 65), (3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
    "3x3_bands": convolution((1, 2, 113, 112), (3, 3), pads=[1, 1, 1, 1]),
    "5x5_stride_2": convolution((1, 2, 30, 31), (5, 5), pads=[2, 2, 2, 2], strides=[2, 2]),
    "7x7": convolution((1, 2, 19, 17), (7, 7), pads=[3, 3, 3, 3]),
    "17x13": convolution((1, 2, 21, 19), (17, 13), pads=[8, 6, 8, 6]),
    "25x17": convolution((1, 2, 33, 21), (25, 17), pads=[12, 8, 12, 8]),
    "dilated": convolution((1, 2, 20, 23), (3, 3), pads=[2, 3, 2, 3], dilations=[2, 3]),
    "dilated_stride_2": convolution((1, 2, 20, 23), (3, 3), pads=[2, 2, 2, 2], dilations=[2, 2], strides=[2, 2]),
    "stride_3_mixed": convolution((1, 2, 20, 25), (4, 5), pads=[0, 3, 2, 1], strides=[1, 3]),
    "stride_4_kernel_1": convolution((1, 2, 9, 33), (1, 1), strides=[4, 4]),
    "wide_padding": convolution((1, 2, 3, 2), (5, 5), pads=[4, 9, 4, 9]),
    "no_padding": convolution((1, 2, 9, 8), (3, 3)),
    "stride_3_right_padding": convolution((1, 2, 8, 47), (5, 5), pads=[0, 1, 4, 3], strides=[3, 3]),
    "padding_wider_than_a_vector": convolution((1, 2, 3, 5), (3, 37), pads=[1, 18, 1, 18]),
    "padding_above_only": convolution((1, 2, 5, 9), (3, 3), pads=[9, 1, 0, 1]),
    "1x1_output": convolution((1, 17, 7, 7), (7, 7)),
    "1d": convolution((2, 3, 33), (3,), pads=[1, 1]),
    "1d_long": convolution((1, 2, 5000), (9,), pads=[4, 4]),
    "1d_stride_2": convolution((1, 2, 1001), (4,), pads=[1, 2], strides=[2]),
    "multiplier": convolution((2, 3, 9, 9), (3, 3), multiplier=3, pads=[1, 1, 1, 1]),
    **{f"width_{w}": convolution((1, 2, 4, w), (3, 3), pads=[1, 1, 1, 1]) for w in (1, 7, 8, 9, 15, 16, 17, 33)},
    **{
        f"width_{w}_stride_2": convolution((1, 2, 5, w), (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
        for w in (1, 7, 8, 9, 16, 17, 31, 32, 33, 34)
    },
    **{
        f"width_{w}_stride_2_right_padding": convolution((1, 2, 6, w), (3, 3), pads=[0, 0, 1, 1], strides=[2, 2])
        for w in (2, 7, 8, 9, 16, 17, 28, 30, 32, 33)
    },
}  # fmt: skip


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_depthwise_matches_onnxruntime(target: Target) -> None:
    """Windows, strides, dilations and paddings of all kinds, with borders and tails."""
    for name, case, y in outputs_of(CASES, target):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=2e-5, err_msg=name)


def residual(shape: tuple[int, ...]) -> Single:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=3),
        helper.make_node("Add", ["c", "r"], ["s"]),
        helper.make_node("Clip", ["s", "low", "high"], ["y"]),
    ]
    constants = {"w": random((3, 1, 3, 3), 1), "b": random((3,), 2), "low": np.float32(0), "high": np.float32(1)}
    return several(nodes, {"x": random(shape), "r": random(shape, 5)}, constants)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_epilogue_adds_the_residual_then_activates(target: Target) -> None:
    cases = {str(size): residual((1, 3, *size)) for size in ((7, 7), (9, 9), (14, 20), (16, 16), (5, 33))}

    for name, case, y in outputs_of(cases, target, inplace=(False, True)):
        assert [call.op for call in case.lowered(target).calls] == ["Conv+Add+Clip"]
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "case",
    [
        single("Conv", [random((1, 4, 5, 5))], constants=[random((4, 2, 3, 3))], group=2),
        single("Conv", [random((1, 2, 3, 5, 5))], constants=[random((2, 1, 3, 3, 3))], group=2),
        single("Conv", [random((1, 2, 5, 5)), random((2, 1, 3, 3))], group=2),
        single("Conv", [random((1, 2, 5, 5))], constants=[random((2, 1, 3, 3))], group=2, auto_pad="SAME_UPPER"),
        single("Relu", [random((1, 2, 5, 5))]),
    ],
    ids=["grouped", "3d", "computed_weight", "auto_pad", "not_a_convolution"],
)
def test_other_nodes_are_declined(case: Single) -> None:
    assert depthwise_window(case.node) is None
