"""A worker speaks its protocol, stands still between calls, and fails in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesparse.devices import worker as worker_module
from edgesparse.devices.worker import Worker
from edgesparse.errors import MeasureError
from tests.bench import fakes

X = {"x": np.array([1.0, 2.5], np.float32)}
ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from edgesparse.devices.worker import Worker
worker = Worker(Path(sys.argv[1]), "model")
worker.run({"x": np.ones(1)})
print(worker.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDS = """
import numpy as np
PACKAGES = ()
before = np.ones(200 << 20, np.uint8).sum()
kept = np.ones(50 << 20, np.uint8)
def load(model, threads, inputs):
    held = np.ones(24 << 20, np.uint8)
    def run():
        np.ones(64 << 20, np.uint8)
        return {"y": held[:1]}
    return run
"""
Start = Callable[[str], Worker]


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    workers = []

    def begin(source: str) -> Worker:
        runtime = fakes.runtime(tmp_path, "fake", source)
        workers.append(Worker(runtime.file, "model"))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


def test_outputs_and_versions_come_back_though_the_library_prints(start):
    worker = start(fakes.DOUBLE)

    outputs = worker.run(X)

    np.testing.assert_array_equal(outputs["y"], [2.0, 5.0])
    assert worker.versions == {"numpy": np.__version__}


def test_runs_are_counted_but_the_first_of_a_turn(start):
    worker = start(fakes.DOUBLE)
    worker.run(X)

    times = worker.time(X, repeat=3)

    assert len(times) == 3 and all(isinstance(time, int) and time > 0 for time in times)
    assert worker.run(X)["count"] == 4 + 1 + 3 + 4  # loaded, uncounted, counted, loaded again


def test_it_loads_by_itself_and_again_only_for_other_inputs(start):
    worker = start(fakes.DOUBLE)

    for inputs in (X, X, dict(X)):
        worker.time(inputs, repeat=2)
        worker.meters(inputs)

    assert worker.run(X)["count"] == 4 + 2 * 3 + 4 + 3 + 4  # loaded, two turns, loaded, a turn, loaded


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_process_is_stopped_between_calls(start):
    worker = start(fakes.DOUBLE)
    worker.run(X)

    state = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0]

    assert state == "T"


def test_a_process_that_takes_its_time_to_end_is_not_stopped_for_ever(start):
    source = "import atexit, time\natexit.register(time.sleep, 0.5)\nraise RuntimeError('gone')"

    with pytest.raises(MeasureError, match="its process died with exit code 1: RuntimeError: gone"):
        start(source).run(X)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_stopped_process_ends_with_the_one_that_started_it(tmp_path):
    runtime = fakes.runtime(tmp_path, "fake", fakes.DOUBLE)
    command = [sys.executable, "-c", STARTER, str(runtime.file)]
    starter = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    pid = int(starter.stdout)

    assert starter.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while _is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_there(pid)


def _is_there(pid: int) -> bool:
    """A process that nobody has waited for yet is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_is_killed_while_it_is_stopped_is_told(start):
    worker = start(fakes.DOUBLE)
    worker.run(X)

    os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(MeasureError, match="its process died of SIGKILL: a library that prints"):
        worker.time(X)


def test_a_model_that_could_not_be_loaded_is_not_timed(start):
    worker = start(fakes.FAILS_LATER)
    worker.run(X)

    for _ in range(2):
        with pytest.raises(MeasureError, match="IndexError: pop from empty list"):
            worker.time(dict(X))


def test_nothing_is_started_before_something_is_asked(start):
    start("raise RuntimeError('gone')").close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_what_the_model_added_and_not_what_its_file_had(start):
    worker = start(HOLDS)

    meters = worker.meters(X)

    mib = 1 << 20
    assert 20 * mib <= meters["anonymous_bytes"] <= 32 * mib  # held
    assert 80 * mib <= meters["peak_bytes"] <= 100 * mib  # held, and 64 for a moment
    assert meters["mapped_bytes"] <= 8 * mib


def test_refused_model_is_told_in_one_line(start):
    with pytest.raises(MeasureError, match=r"^ValueError: cannot read this model$"):
        start(fakes.REFUSES).run(X)


def test_death_is_told_with_the_last_words(start):
    with pytest.raises(MeasureError, match=r"died with exit code 3: out of luck$"):
        start(fakes.DIES).run(X)


def test_one_that_does_not_answer_is_ended(start, monkeypatch):
    monkeypatch.setattr(worker_module, "LIMIT_S", 0.5)
    worker = start("import time\ntime.sleep(60)")

    with pytest.raises(MeasureError, match=r"no answer to 'load' within 0.5 s"):
        worker.run(X)

    with pytest.raises(MeasureError, match="its process died of SIGKILL"):
        worker.run(X)
