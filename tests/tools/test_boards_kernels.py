"""Kernels under QEMU: counts repeat, the cache model counts what a hand can, and the published table holds."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.codegen import compile_kernels
from edgesparse.backends.cpu.kernel import Call, Lanes, Param, Tensor, build_kernel
from edgesparse.devices import targets
from edgesparse.errors import InternalError, TargetError
from edgesparse.forms.sparse import SparseTile
from edgesparse.graph.layout import ROWS
from edgesparse.numerics import F32
from tools.boards import emulate as emulation
from tools.boards import kernels
from tools.boards.emulate import EmulatorError, core_of, emulate, tools
from tools.boards.layer import Shape, run_layer

CASES = [(board, form) for board in kernels.BOARDS for form in kernels.FORMS]


@pytest.fixture(scope="module")
def emulator():
    try:
        return tools()
    except EmulatorError as err:
        pytest.skip(str(err))


def sweeps(size: int, times: int) -> Call:
    """A kernel that reads `size` floats from end to end, several times over."""
    lanes = Lanes(4, F32)

    def body(_tile, x, y):
        with T.serial(0, times), T.serial(0, size // 4) as i:
            lanes.store(y, 0, lanes.load(y, 0) + lanes.load(x, i * 4))

    kernel = build_kernel("es_sweeps", [Param(size, F32), Param(4, F32)], 1, body)
    return Call("sweeps", "Sum", kernel, (Tensor("x", (size,), F32),), (Tensor("y", (4,), F32),))


@pytest.mark.parametrize(("size_bytes", "l1", "l2"), [(16384, 256, 256), (65536, 3 * 1024, 1024)])
def test_a_sweep_that_fits_a_cache_misses_it_once_and_one_that_does_not_every_time(emulator, size_bytes, l1, l2):
    """32 KiB of L1, 1 MiB of L2, lines of 64 bytes; LRU keeps nothing of a sweep longer than the cache."""
    call, target = sweeps(size_bytes // 4, 3), targets.load("rpi4")
    x = np.ones(size_bytes // 4, np.float32)

    ran, (y,) = emulate(compile_kernels([call.kernel], target), call, {("x", ROWS): x}, target)

    np.testing.assert_array_equal(y, np.full(4, 3 * size_bytes / 16))
    reads = [each for each in ran if each.runs > 1 and each.text.startswith("ld") and "q" in each.text]
    assert sum(each.l1_misses for each in reads) == pytest.approx(l1, abs=2)  # the line of y is somebody else's
    assert sum(each.l2_misses for each in reads) == pytest.approx(l2, abs=2)


def test_counts_and_misses_repeat_exactly(emulator):
    arguments = Shape(32, 48, 7, 0.2), SparseTile(4, 16), targets.load("rpi4")

    assert run_layer(*arguments) == run_layer(*arguments)


def test_a_wrong_result_is_refused(emulator, monkeypatch):
    monkeypatch.setattr("tools.boards.layer.TOLERANCE", 0.0)

    with pytest.raises(InternalError, match="differs from numpy by"):
        run_layer(Shape(32, 48, 7, 0.2), SparseTile(4, 16), targets.load("rpi4"))


def test_a_target_without_a_core_is_refused():
    with pytest.raises(TargetError, match="x86-64-v3: core: missing"):
        core_of(targets.load("x86-64-v3"))


@pytest.mark.parametrize(("which", "message"), [(None, "is not installed"), ("/bin/true", "no plugin support")])
def test_an_emulator_that_cannot_count_is_reported(monkeypatch, which, message):
    silent = subprocess.CompletedProcess([], 0, stdout="usage", stderr="")
    monkeypatch.setattr(emulation.shutil, "which", lambda _: which)
    monkeypatch.setattr(emulation.subprocess, "run", lambda *_, **__: silent)

    with pytest.raises(EmulatorError, match=message):
        tools.__wrapped__()


@pytest.mark.parametrize(("board", "form"), CASES, ids=lambda value: getattr(value, "name", value))
def test_kernels_cost_what_the_table_says(emulator, update_golden, board, form):
    """A change is reviewed: refresh the table with `pytest tests/bench --update-golden`."""
    if update_golden:
        pytest.skip("the table is rewritten")

    row = kernels.measure(board, form)

    assert row.line in kernels.RESULT.read_text().splitlines()


def test_the_table_has_a_line_for_every_case(emulator, update_golden):
    if update_golden:
        kernels.main([])

    lines = kernels.RESULT.read_text().splitlines()

    listed = [tuple(line.split(" | ")[:2]) for line in lines if line.startswith("| rpi")]
    assert listed == [(f"| {board}", form.name) for board, form in CASES]


@pytest.mark.parametrize(
    ("board", "block", "most"), [("rpi4", "1x1", 1.10), ("rpi5", "1x1", 0.58), ("rpi3", "4x1", 1.8)]
)
def test_the_best_sparse_kernel_is_near_the_peak_of_the_core(board, block, most):
    """Cycles for a multiply-add; the peak is 1.0 on the rpi3 and rpi4, 0.5 on the rpi5."""
    lines = [line.strip("| ").split(" | ") for line in kernels.RESULT.read_text().splitlines()]

    cycles = [float(line[4]) for line in lines if line[0] == board and line[1].startswith(f"sparse {block}")]

    assert min(cycles) <= most
