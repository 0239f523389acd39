"""Kernels become one flat image that needs nothing from outside."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu import codegen
from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel
from edgesparse.errors import InternalError
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST, run_calls


def elementwise(symbol: str, size: int, function) -> Kernel:
    def body(tile, x, y):
        with T.serial(0, size) as i:
            T.buffer_store(y, function(x[i]), [i])

    return build_kernel(symbol, [Param(size, F32)] * 2, 1, body)


def run(kernel: Kernel, x: np.ndarray) -> np.ndarray:
    call = Call("layer", "Test", kernel, (Tensor("x", x.shape, F32),), (Tensor("y", x.shape, F32),))
    return run_calls([call], {"x": x})["y"]


@pytest.fixture
def libraries(monkeypatch):
    """The libraries that each attempt to link was given."""
    tried = []
    link = subprocess.run

    def record(command, **options):
        tried.append(command[-1])
        return link(command, **options)

    monkeypatch.setattr(codegen.subprocess, "run", record)
    return tried


@pytest.mark.parametrize("size", [1, 7, 33, 4096])
def test_copies_and_fills_need_no_library(libraries, size):
    """LLVM turns such loops into calls of memcpy and memset."""
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)

    copied = run(elementwise("es_copy", size, lambda v: v), x)
    filled = run(elementwise("es_fill", size, lambda v: T.float32(0)), x)

    np.testing.assert_array_equal(copied, x)
    np.testing.assert_array_equal(filled, np.zeros(size, np.float32))
    assert set(libraries) == {"-nostdlib"}


def test_functions_of_libm_are_linked_in():
    x = np.linspace(-1, 1, 33, dtype=np.float32)

    y = run(elementwise("es_asin", 33, T.asin), x)

    np.testing.assert_allclose(y, np.arcsin(x.astype(np.float64)), rtol=1e-6, atol=1e-7)


def test_two_kernels_of_one_name_are_a_bug():
    kernel = elementwise("es_twice", 8, lambda v: v)

    with pytest.raises(InternalError, match="must be distinct"):
        codegen.compile_kernels([kernel, kernel], HOST)


def test_equal_kernels_give_equal_images():
    first, second = (codegen.compile_kernels([elementwise("es_same", 33, lambda v: v)], HOST) for _ in range(2))

    assert first == second
