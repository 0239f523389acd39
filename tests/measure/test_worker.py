"""A worker speaks its protocol, stands still between calls, and fails in one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesparse.measure import Unavailable, Worker
from tests.bench import fakes

X = {"x": np.array([1.0, 2.5], np.float32)}
ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from edgesparse.measure import Worker
worker = Worker([sys.executable, "-P"], Path(sys.argv[1]), Path(sys.argv[2]))
worker.load(Path("model"), 1, {"x": np.ones(1)})
print(worker.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
Start = Callable[[str], Worker]


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    workers = []

    def begin(source: str) -> Worker:
        runtime = fakes.runtime(tmp_path, "fake", source)
        workers.append(Worker([sys.executable, "-P"], runtime.file, tmp_path / "log"))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


def test_outputs_and_versions_come_back_though_the_library_prints(start):
    outputs, answer = start(fakes.DOUBLE).load(Path("model"), 1, X)

    np.testing.assert_array_equal(outputs["y"], [2.0, 5.0])
    assert answer["versions"] == {"numpy": np.__version__}


def test_runs_are_counted_but_the_first_of_a_turn(start):
    worker = start(fakes.DOUBLE)
    worker.load(Path("model"), 1, X)

    times = worker.run(3)

    outputs, _ = worker.load(Path("model"), 1, X)
    assert len(times) == 3 and all(isinstance(time, int) and time > 0 for time in times)
    assert outputs["count"] == 1 + 1 + 3 + 1  # load, uncounted, counted, load


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_process_is_stopped_between_calls(start):
    worker = start(fakes.DOUBLE)
    worker.load(Path("model"), 1, X)

    state = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0]

    assert state == "T"


def test_a_process_that_takes_its_time_to_end_is_not_stopped_for_ever(start):
    source = "import atexit, time\natexit.register(time.sleep, 0.5)\nraise RuntimeError('gone')"

    with pytest.raises(Unavailable, match="its process died with exit code 1: RuntimeError: gone"):
        start(source).load(Path("model"), 1, X)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_stopped_process_ends_with_the_one_that_started_it(tmp_path):
    runtime = fakes.runtime(tmp_path, "fake", fakes.DOUBLE)
    command = [sys.executable, "-c", STARTER, str(runtime.file), str(tmp_path / "log")]
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


def test_refused_model_is_told_in_one_line(start):
    with pytest.raises(Unavailable, match=r"^ValueError: cannot read this model$"):
        start(fakes.REFUSES).load(Path("model"), 1, X)


def test_death_is_told_with_the_last_words(start):
    with pytest.raises(Unavailable, match=r"died with exit code 3: out of luck$"):
        start(fakes.DIES).load(Path("model"), 1, X)
