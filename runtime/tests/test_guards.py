"""What a kernel writes next to its memory is nobody's: the process ends instead of going on with wrong data."""

from __future__ import annotations

import mmap
import signal

import numpy as np
import pytest

from edgesparse.package.writer import write
from edgesparse.program import Space
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import run_program

PAGE = mmap.PAGESIZE


@pytest.fixture
def write_to(host, tmp_path):
    """Ends a program that writes to one byte of a space, and returns how it ended."""

    def run(space: Space, byte: int, threads: int) -> int:
        write([samples.trespassing_model(host, space, byte)], {}, tmp_path / "model.esp")
        np.save(tmp_path / "x.npy", np.zeros(1, np.int32))
        words = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--threads", threads]
        return run_program(build.esrun(host), tmp_path / "model.esp", *words).returncode

    return run


@pytest.mark.parametrize(("space", "size"), [(Space.ARENA, 20480), (Space.SCRATCH, 12288)])
@pytest.mark.parametrize("threads", [1, 3])
def test_arena_and_scratch_lie_between_pages_that_nobody_may_touch(write_to, space, size, threads):
    whole = -(-size // PAGE) * PAGE

    assert write_to(space, 0, threads) == write_to(space, size - 1, threads) == 0
    for byte in (-1, -PAGE, whole, whole + PAGE - 1):
        assert write_to(space, byte, threads) == -signal.SIGSEGV, byte


@pytest.mark.parametrize("space", [Space.WEIGHTS, Space.INDICES])
def test_weights_and_indices_cannot_be_written(write_to, space):
    assert write_to(space, 0, 1) == -signal.SIGSEGV
