"""Nothing that an input holds is followed unchecked: indices, lengths, divisors, coordinates, operator by operator.

Every operand lies between pages that nobody may touch, and each operator runs in a process of its own: what reads or
writes outside dies. A check that is taken away is missed by the same test.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest

from edgesparse.lower.kernel import ALIGNMENT_BYTES, OVERREAD_BYTES
from edgesparse.lower.relax import checks
from tests.lower import executor
from tests.lower.single import Single, random, single

SOME = (6, 9)
INTEGERS = [s * v for v in (10, 33, 34, 100, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 + 1, 2**48) for s in (1, -1)]
INTEGERS += [
    2**62,
    2**63 - 1,
    -(2**63),
    -(2**63) + 1,
    2**33,
    -(2**33),
    10**6,
    -(10**6),
    12345,
    -12345,
    64,
    -64,
    255,
    -256,
    11,
]
INTEGERS += [-(2**62), 2**40, -(2**40), 4096, -4096]
NAN = [float("nan")] * 2


def ids(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.int64)


def image() -> np.ndarray:
    return random((2, 3, 8, 9))


def boxes() -> np.ndarray:
    return np.array([[0, 0, 4, 4], [1, 1, 6, 5]], np.float32)


CASES: dict[str, tuple[Callable[[], Single], str, list[float]]] = {
    "Gather": (lambda: single("Gather", [random(SOME), ids((5,))], axis=1), "x1", INTEGERS),
    "Gather/first": (lambda: single("Gather", [random(SOME), ids((2, 3))]), "x1", INTEGERS),
    "GatherElements": (lambda: single("GatherElements", [random(SOME), ids(SOME)], axis=1), "x1", INTEGERS),
    "GatherND": (lambda: single("GatherND", [random(SOME), ids((5, 2))]), "x1", INTEGERS),
    "GatherND/batch": (lambda: single("GatherND", [random(SOME), ids((6, 1))], batch_dims=1), "x1", INTEGERS),
    "ScatterElements": (
        lambda: single("ScatterElements", [random(SOME), ids((2, 9)), random((2, 9))]),
        "x1",
        INTEGERS,
    ),
    "ScatterElements/add": (
        lambda: single("ScatterElements", [random(SOME), ids((6, 2)), random((6, 2))], axis=1, reduction="add"),
        "x1",
        INTEGERS,
    ),
    "ScatterND": (lambda: single("ScatterND", [random(SOME), ids((7, 1)), random((7, 9))]), "x1", INTEGERS),
    "ScatterND/columns": (lambda: single("ScatterND", [random(SOME), ids((7, 2)), random((7,))]), "x1", INTEGERS),
    "ReverseSequence": (
        lambda: single("ReverseSequence", [random(SOME), ids((9,))], time_axis=0, batch_axis=1),
        "x1",
        INTEGERS,
    ),
    "RoiAlign/batch": (
        lambda: single("RoiAlign", [image(), boxes(), ids((2,))], output_height=2, output_width=2),
        "x2",
        INTEGERS,
    ),
    "GridSample": (lambda: single("GridSample", [image(), np.zeros((2, 3, 4, 2), np.float32)]), "x1", NAN),
}


class PagedBuffer(executor.GuardedBuffer):
    """Memory between pages that nobody may touch, the last as near to its end as alignment and over-read allow."""

    def __init__(self, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        middle = -(-(size_bytes + OVERREAD_BYTES + ALIGNMENT_BYTES) // page) * page
        self._memory = mmap.mmap(-1, middle + 2 * page)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        libc = ctypes.CDLL(None, use_errno=True)
        for fence in (base, base + page + middle):
            assert libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
        whole = np.ctypeslib.as_array((ctypes.c_uint8 * middle).from_address(base + page))
        start = (middle - size_bytes - OVERREAD_BYTES) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        self.bytes, self._guard = whole[start : start + size_bytes], whole[start + size_bytes :]
        self.bytes[:], self._guard[:] = executor.POISON, executor.GUARD
        self.pointer = base + page + start


def survivors(name: str) -> int:
    """How many hostile values are not refused, or -1 where the process that tries them dies."""
    build, operand, values = CASES[name]
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 10,) * 2)  # a loop may have no end
        os._exit(_tried(build(), operand, values))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else -1


def _tried(model: Single, operand: str, values: list[float]) -> int:
    passed = 0
    try:
        executor.GuardedBuffer = PagedBuffer  # type: ignore[misc]
        calls = model.lowered().calls
        kernels = {call.kernel.symbol: call.kernel for call in calls}
        image = executor.LoadedImage(executor.compile_kernels(list(kernels.values()), executor.HOST))
        executor.run_image(image, calls, model.inputs)
        for number, value in enumerate(values):
            array = model.inputs[operand].copy()
            array.reshape(-1)[number % array.size] = value
            try:
                executor.run_image(image, calls, {**model.inputs, operand: array})
                passed += 1
            except executor.KernelFault:
                continue
        executor.run_image(image, calls, model.inputs)
    except BaseException:
        return 120
    return passed


@pytest.mark.parametrize("name", CASES)
def test_hostile_values_are_refused(name):
    assert survivors(name) == 0


@pytest.mark.slow(part="hostile")
@pytest.mark.parametrize("name", CASES)
def test_a_check_that_is_taken_away_is_missed(name, monkeypatch):
    operator = name.split("/")[0]
    monkeypatch.setitem(checks._RULES, operator, lambda _: iter(()))

    assert survivors(name) != 0
