"""Kernels of every family compile for every instruction set to code that needs nothing else."""

from __future__ import annotations

import pytest

from edgesparse.devices.targets import Target
from tests.backends.cpu.single import ARM, WIDE, Single, random, single, undefined_symbols

CASES: dict[str, Single] = {
    "depthwise": single("Conv", [random((1, 8, 14, 14))], constants=[random((8, 1, 3, 3))], group=8, strides=[2, 2]),
    "max_pool": single("MaxPool", [random((1, 8, 15, 15))], kernel_shape=[3, 3], strides=[2, 2]),
    "global_pool": single("GlobalAveragePool", [random((1, 8, 7, 7))]),
    "softmax_rows": single("Softmax", [random((5, 33))]),
    "softmax_columns": single("LogSoftmax", [random((5, 7, 9))], axis=1),
    "layer_norm": single("LayerNormalization", [random((5, 33))], constants=[random((33,))]),
    "transpose": single("Transpose", [random((33, 17))]),
    "matmul": single("MatMul", [random((3, 9, 17)), random((3, 17, 21))]),
    "matmul_column": single("MatMul", [random((9, 17)), random((17, 1))]),
}


@pytest.mark.parametrize("target", [WIDE, *ARM], ids=lambda t: t.name)
@pytest.mark.parametrize("name", CASES)
def test_kernels_need_no_library(name: str, target: Target) -> None:
    calls = CASES[name].lowered(target).calls

    assert calls
    assert undefined_symbols([call.kernel for call in calls], target) == set()
