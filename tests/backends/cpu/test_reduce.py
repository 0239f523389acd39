"""Reductions against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.reduce import lower_reduce
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST
from tests.backends.cpu.single import Single, outputs_of, random, runnable_targets, single


def axes(*values: int) -> list[np.ndarray]:
    return [np.array(values, np.int64)]


CASES = {
    "global_mean": single("GlobalAveragePool", [random((2, 37, 7, 7))]),
    "global_mean_1d": single("GlobalAveragePool", [random((2, 3, 129))]),
    "global_max": single("GlobalMaxPool", [-np.abs(random((1, 5, 9, 9)))]),
    "global_max_of_minus_infinity": single("GlobalMaxPool", [np.full((1, 5, 3, 3), -np.inf, np.float32)]),
    "mean_last": single("ReduceMean", [random((3, 5, 33))], constants=axes(-1)),
    "mean_attribute": single("ReduceMean", [random((3, 5, 33))], opset=13, axes=[1, 2], keepdims=0),
    "mean_channels_last": single("ReduceMean", [random((2, 7, 7, 70))], constants=axes(1, 2), keepdims=0),
    "mean_tokens": single("ReduceMean", [random((1, 50, 129))], constants=axes(1)),
    "mean_all": single("ReduceMean", [random((3, 4, 5))]),
    "sum_around_one": single("ReduceSum", [random((4, 3, 1, 5))], constants=axes(1, 3)),
    "max": single("ReduceMax", [random((4, 1000))], constants=axes(1)),
    "min": single("ReduceMin", [random((4, 10, 3))], constants=axes(1)),
}


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_reduction_matches_onnxruntime(target: Target) -> None:
    for name, case, y in outputs_of(CASES, target, lower_reduce):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-5, err_msg=name)


def test_every_length_and_width_is_summed() -> None:
    cases = {
        f"{count} of {inner}": single("ReduceSum", [random((3, count + 1, inner))], constants=axes(1), keepdims=0)
        for count in (1, 2, 7, 8, 9, 16, 33)
        for inner in (1, 2, 7, 9, 33)
    }

    for name, case, y in outputs_of(cases, HOST, lower_reduce):
        np.testing.assert_allclose(y, case.judge(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "case",
    [
        single("ReduceMean", [random((2, 3, 4))], constants=axes(0, 2)),
        single("ReduceMean", [random((2, 3))], noop_with_empty_axes=1),
        single("ReduceL2", [random((2, 3))], constants=axes(1)),
    ],
    ids=["axes_apart", "no_axes", "other_reduction"],
)
def test_other_reductions_are_declined(case: Single) -> None:
    assert lower_reduce(case.node, HOST) is None
