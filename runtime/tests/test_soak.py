"""Sessions come and go while the system refuses memory, files and threads: no leak, no wrong output, no crash.

EDGESPARSE_SOAK_SECONDS is how long each of the slow ones takes: a quarter of an hour, if it is not set.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from edgesparse_runtime import Model

from edgesparse.package.writer import serialize, write
from runtime.tests import samples
from runtime.tests.conftest import in_child, run_program, sanitized

WRAPPED = (
    *("open64", "fstat64", "close", "mmap64", "munmap", "mprotect", "madvise", "posix_madvise"),
    *("pthread_create", "pthread_join"),
)
REFUSALS = {"ES_ERR_IO", "ES_ERR_NO_MEMORY", "ES_ERR_THREAD", "ES_ERR_EXECUTE"}
LIMIT_MIB = {"none": 16, "address": 0, "thread": 0}  # a sanitizer needs terabytes of addresses
DURATIONS = [
    15,
    pytest.param(int(os.environ.get("EDGESPARSE_SOAK_SECONDS", "900")), marks=pytest.mark.slow(part="soak"), id="long"),
]


@pytest.fixture(scope="module")
def paths(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    made = {
        "sparse": samples.sparse_model(host),
        "counting": samples.counting_model(host, tiles=101, step_count=9),
        "large": samples.counting_model(host, tiles=1 << 20, step_count=2),  # 4 MiB of arena
    }
    for name, sample in made.items():
        write([sample.program], {}, folder / name)
    return [folder / name for name in made]


def counts_of(result) -> dict[str, int]:
    assert (result.returncode, result.stderr) == (0, "")
    return {name: int(count) for name, count in (line.split("\t") for line in result.stdout.splitlines())}


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_each_call_to_the_system_may_fail(paths, sanitizer):
    counts = counts_of(run_program(sanitized("soak.c", sanitizer, WRAPPED), "sweep", *paths[:2]))

    assert counts.keys() == REFUSALS | {"ES_OK"}


@pytest.mark.parametrize("sanitizer", sorted(LIMIT_MIB))
@pytest.mark.parametrize("seconds", DURATIONS)
def test_threads_use_models_while_calls_to_the_system_fail(paths, seconds, sanitizer):
    program = sanitized("soak.c", sanitizer, WRAPPED)
    used = paths if sanitizer == "none" else paths[:2]

    result = run_program(program, "run", seconds, LIMIT_MIB[sanitizer], *used, timeout=seconds + 60)

    assert counts_of(result).keys() == REFUSALS | {"ES_OK"}


def held() -> tuple[int, int, int]:
    """Threads, descriptors and mappings of artifacts that this process has."""
    gc.collect()
    mappings = Path("/proc/self/maps").read_text().count("soak")
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), mappings


@pytest.mark.parametrize("seconds", DURATIONS)
def test_threads_use_models_while_the_process_forks(host, paths, seconds):
    sample = samples.sparse_model(host)
    sources = [str(paths[0]), serialize([sample.program], {})]
    inherited, deadline, failures = Model(sources[0], threads=2), time.monotonic() + seconds, []

    def use(turn: int) -> None:
        with Model(sources[turn % 2], threads=1 + turn % 3) as model:
            # np.testing would be imported here, and the fork would copy the lock of an import that goes on
            assert np.allclose(model.run(sample.inputs)["s"], sample.outputs["s"], rtol=1e-5, atol=1e-5)

    def keep_using() -> None:
        turn = 0
        try:
            while time.monotonic() < deadline:
                use(turn := turn + 1)
                inherited.run(sample.inputs)
        except BaseException as err:
            failures.append(err)

    def check() -> None:
        inherited.close()
        use(0)
        use(1)

    assert in_child(check) == 0  # a fork ends the threads of numpy's library, here too
    before = held()
    threads = [threading.Thread(target=keep_using) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = set()
    while time.monotonic() < deadline:
        statuses.add(in_child(check))
    for thread in threads:
        thread.join()

    assert (failures, statuses) == ([], {0})
    assert held() == before
    inherited.close()
