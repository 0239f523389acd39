"""What the tests of the runtime share: built programs, sample artifacts, emulators."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgesparse.isa import ISAS
from edgesparse.package.writer import write
from runtime import build
from runtime.tests import samples

HERE = Path(__file__).parent
PATIENCE_S = 30  # after which a process counts as hanging

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def run_program(*command: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and capture what it prints."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)


def launcher(platform: str) -> list[str]:
    """The words before a program that make it run here; skips the test if nothing does."""
    if platform == build.host_platform():
        return []
    emulator = shutil.which(ISAS[platform].emulator)
    if emulator is None:
        pytest.skip(f"{ISAS[platform].emulator} is not installed, so {platform} programs cannot run here")
    return [emulator]


def in_child(check: Callable[[], None]) -> int:
    """Run `check` in a forked child; the exit status is 0 if it returns, and negative if it hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        try:
            check()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def sanitized(source: str, sanitizer: str, wrapped: Sequence[str] = ()) -> Path:
    """A C test program, built with a sanitizer or with "none"; skips the test without a compiler for it."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed, so nothing can be built with sanitizers")
    return build.test_program(HERE / source, sanitizer, wrapped)


@pytest.fixture(scope="session")
def host() -> str:
    """The platform that the tests run on."""
    return build.host_platform()


@pytest.fixture(scope="module")
def saved(host, tmp_path_factory):
    """The file of the sparse sample, and its input x."""
    made = samples.sparse_model(host)
    path = tmp_path_factory.mktemp("model") / "model.esp"
    write([made.program], {}, path)
    return path, made.inputs["x"]


@pytest.fixture(scope="session")
def probe() -> Path:
    """The program that opens damaged artifacts, under ASan and UBSan."""
    return sanitized("probe.c", "address")


@pytest.fixture(scope="session")
def crowd() -> Path:
    """The program that runs two models on four threads, under TSan."""
    return sanitized("crowd.c", "thread")
