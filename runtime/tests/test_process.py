"""The runtime is a guest of its process: of its signals, its forks, its thread-local variables."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.package.writer import serialize, write
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import HERE, PATIENCE_S, in_child, run_program, sanitized

TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def sample(host):
    return samples.counting_model(host, tiles=101, step_count=9)


@pytest.fixture(scope="module")
def artifact(sample):
    return serialize([sample.program], {})


@pytest.fixture
def path(artifact, tmp_path):
    (tmp_path / "model.esp").write_bytes(artifact)
    return tmp_path / "model.esp"


def unblocked(task: str) -> set[int]:
    """The signals that a thread of this process takes."""
    lines = (TASKS / task / "status").read_text().splitlines()
    blocked = int(next(line.split()[1] for line in lines if line.startswith("SigBlk:")), 16)
    return {number for number in signal.valid_signals() if not blocked >> (number - 1) & 1}


def test_worker_takes_the_signals_of_its_faults_and_of_profilers_only(artifact):
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
    expected = faults | {signal.SIGPROF, signal.SIGKILL, signal.SIGSTOP}
    before, own = set(os.listdir(TASKS)), signal.pthread_sigmask(signal.SIG_BLOCK, [])

    with Model(artifact, threads=4):
        workers = set(os.listdir(TASKS)) - before
        deadline = time.monotonic() + PATIENCE_S
        while (taken := [unblocked(task) for task in workers]) != [expected] * 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # glibc starts a thread with all signals blocked

    assert taken == [expected] * 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == own


def test_crash_of_a_worker_is_reported(host, tmp_path):
    write([samples.crashing_program(host)], {}, tmp_path / "crash.esp")
    package = Path(sys.modules["edgesparse_runtime"].__file__).parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import numpy; from edgesparse_runtime import Model; "
        "Model(sys.argv[1], threads=2).run(numpy.zeros(1, numpy.int32))"
    )

    result = run_program(sys.executable, "-X", "faulthandler", "-c", code, tmp_path / "crash.esp")

    assert result.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in result.stderr


@pytest.mark.parametrize("command", ["fork", "profile", "narrow", "cancel", "affinity"])
def test_guest_behaves(command, path):
    result = run_program(sanitized("guest.c", "address"), command, path)

    assert (result.returncode, result.stderr) == (0, "")


def test_all_threads_round_alike_whatever_the_caller_set(host, tmp_path):
    write([samples.dividing_program(host, tiles=64)], {}, tmp_path / "model.esp")

    result = run_program(sanitized("guest.c", "none"), "rounding", tmp_path / "model.esp")

    assert (result.returncode, result.stderr) == (0, "")


def test_fork_while_sessions_open_and_close_leaves_a_child_that_works(path):
    """Without a sanitizer: the allocator of one is not made for forks beside other threads."""
    result = run_program(sanitized("guest.c", "none"), "reopen", path)

    assert (result.returncode, result.stderr) == (0, "")


def test_megabytes_of_thread_local_variables_leave_a_worker_its_stack(path):
    result = run_program(sanitized("tls.c", "none"), path)

    assert (result.returncode, result.stderr) == (0, "")


def test_static_program_with_megabytes_of_thread_local_variables_runs(host, path, tmp_path):
    program = tmp_path / "tls"
    target = ["-target", build.PLATFORMS[host].static_triple, "-static", "-s", "-pthread"]
    command = [*build.zig(), "cc", *target, *build.INCLUDE, HERE / "tls.c", *build.SOURCES, "-o", program]
    compiled = run_program(*command, timeout=600)  # the first one on a machine also compiles a libc: that of esrun
    assert compiled.returncode == 0, compiled.stderr

    result = run_program(program, path)

    assert (result.returncode, result.stderr) == (0, "")


def refuse_to_run(model: Model, sample: samples.Sample) -> None:
    with pytest.raises(EdgesparseRuntimeError, match="forked") as caught:
        model.run(sample.inputs)
    assert caught.value.status == "ES_ERR_FORKED"


def test_fork_beside_a_run_leaves_a_child_that_works(host):
    """The other thread holds the lock of the model nearly always."""
    sample = samples.slow_model(host)
    artifact = serialize([sample.program], {"name": "slow"})
    model, dropped, done = Model(artifact, threads=2), [Model(artifact, threads=2)], threading.Event()

    def run():
        while not done.is_set():
            model.run(sample.inputs)

    def check():
        refuse_to_run(model, sample)
        assert model.manifest == {"name": "slow"}
        model.close()
        dropped.clear()
        gc.collect()
        with Model(artifact, threads=3) as own:
            assert own.run(sample.inputs)["y"] == sample.outputs["y"]

    other = threading.Thread(target=run)
    other.start()
    statuses = [in_child(check) for _ in range(10)]
    done.set()
    other.join()

    assert statuses == [0] * 10
    assert model.run(sample.inputs)["y"] == sample.outputs["y"]


def test_pool_of_forked_processes_is_told(artifact, sample):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def work():
        try:
            model.run(sample.inputs)
        except EdgesparseRuntimeError as err:
            results.put(err.status)

    with Model(artifact, threads=2) as model:
        workers = [context.Process(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        statuses = [results.get() for _ in workers]
        for worker in workers:
            worker.join(PATIENCE_S)

        assert statuses == ["ES_ERR_FORKED"] * 3
        assert [worker.exitcode for worker in workers] == [0] * 3


def test_signal_handler_may_close_the_model_that_runs(host):
    sample = samples.slow_model(host)
    model = Model(serialize([sample.program], {}), threads=2)
    previous = signal.signal(signal.SIGALRM, lambda *_: model.close())

    def run_until_closed():
        while True:
            model.run(sample.inputs)

    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(EdgesparseRuntimeError, match="closed|NULL"):
        run_until_closed()
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_model_is_not_duplicated(artifact, duplicate):
    with Model(artifact) as model, pytest.raises(TypeError, match="open the artifact again"):
        duplicate(model)
