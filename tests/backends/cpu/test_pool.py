"""Pooling against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.pool import lower_pool
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, single

CASES = {
    "max_3x3_stride_2": single("MaxPool", [random((1, 3, 56, 112))], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "max_2x2": single("MaxPool", [random((2, 5, 14, 14))], kernel_shape=[2, 2], strides=[2, 2]),
    "max_ceil": single("MaxPool", [random((1, 3, 15, 16))], kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1),
    "max_negative": single("MaxPool", [-np.abs(random((1, 2, 5, 9)))], kernel_shape=[3, 3], pads=[1] * 4),
    "max_dilated": single("MaxPool", [random((1, 2, 12, 17))], kernel_shape=[3, 3], dilations=[2, 2]),
    "max_of_padding": single("MaxPool", [random((1, 2, 5, 4))], kernel_shape=[2, 2], dilations=[5, 5], pads=[1] * 4),
    "max_1d": single("MaxPool", [random((2, 3, 33))], kernel_shape=[3], strides=[2], pads=[1, 0]),
    "max_stride_3": single("MaxPool", [random((1, 2, 20, 33))], kernel_shape=[3, 3], strides=[3, 3]),
    "max_13x13": single("MaxPool", [random((1, 2, 20, 20))], kernel_shape=[13, 13], pads=[6] * 4),
    "mean": single("AveragePool", [random((1, 3, 14, 14))], kernel_shape=[2, 2], strides=[2, 2]),
    "mean_padded": single("AveragePool", [random((1, 3, 9, 17))], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "mean_all": single("AveragePool", [random((1, 3, 9, 17))], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    "mean_ceil": single("AveragePool", [random((1, 3, 8, 10))], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "mean_ceil_include": single(
        "AveragePool", [random((1, 3, 8, 9))], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1], ceil_mode=1,
        count_include_pad=1,
    ),
    "mean_1d": single("AveragePool", [random((1, 2, 100))], kernel_shape=[5], strides=[2], pads=[2, 1]),
    "global_mean": single("GlobalAveragePool", [random((2, 17, 7, 7))]),
    "mean_7x7": single("AveragePool", [random((1, 17, 7, 7))], kernel_shape=[7, 7]),
}  # fmt: skip


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_pooling_matches_onnxruntime(target: Target) -> None:
    """Padding never counts as a maximum, and counts in a mean only where asked."""
    for name, case, y in outputs_of(CASES, target, lower_pool):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "case",
    [
        single("MaxPool", [random((1, 2, 5, 5, 5))], kernel_shape=[3, 3, 3]),
        single("MaxPool", [random((1, 2, 5, 5))], kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        single("Relu", [random((1, 2, 5, 5))]),
    ],
    ids=["3d", "auto_pad", "not_a_pool"],
)
def test_other_nodes_are_declined(case: Single) -> None:
    assert lower_pool(case.node, HOST) is None
