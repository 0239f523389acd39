"""A model that is open in a process of its own, which is stopped while others run; `serve.py` is its other side."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgesparse.devices.pipe import is_ready, last_line
from edgesparse.errors import MeasureError

if TYPE_CHECKING:
    import numpy as np

SERVE = Path(__file__).with_name("serve.py")
BUILD = Path(__file__).with_name("build_server.py")
"""What serves artifacts."""

PYTHON = (sys.executable, "-P")
"""The interpreter of this process, with options."""

LIMIT_S = 1200  # for one answer; some convert the model first


class Worker:
    """A model in one runtime: edgesparse, another build of it, or a rival. Everything is timed in one.

    Between calls the whole process is stopped, so that threads that spin while they wait take no time from others.
    `versions` and `notes` are known after the first run.
    """

    def __init__(
        self,
        runtime: Path,
        model: Path | str,
        threads: int = 1,
        *,
        python: Sequence[str] = PYTHON,
        log: Path | None = None,
    ) -> None:
        """A process that starts as soon as it is asked for something.

        Args:
            runtime: the file that `serve.py` serves.
            python: the interpreter of its environment, with options.
            log: where what it prints is kept.
        """
        self._command = [*python, str(SERVE), str(runtime)]
        self._load = {"do": "load", "model": str(model), "threads": threads}
        self._log_file = log
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._inputs: Mapping[str, np.ndarray] | None = None
        self._meters: dict[str, int] = {}
        self.versions: dict[str, str] = {}
        self.notes: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The process."""
        return self._started().pid

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            pipe = subprocess.PIPE
            self._log = self._log_file.open("w+b") if self._log_file else tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, start_new_session=True
            )
        return self._process

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Load the model for these inputs; returns its outputs by name.

        Raises: MeasureError: the runtime cannot load or run it.
        """
        import numpy as np

        self._inputs = None
        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            given, got = f"{folder}/inputs.npz", f"{folder}/outputs.npz"
            np.savez(given, allow_pickle=False, **inputs)
            answer = self._ask(self._load | {"inputs": given, "outputs": got})
            self.versions, self.notes, self._meters = answer["versions"], answer["notes"], answer["meters"]
            self._inputs = inputs
            with np.load(got) as outputs:
                return dict(outputs)

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> list[int]:
        """See `Session`.

        Raises: MeasureError: the runtime cannot load or run the model.
        """
        self._require(inputs)
        nanoseconds: list[int] = self._ask({"do": "time", "repeat": repeat})["ns"]
        return nanoseconds

    def meters(self, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
        """See `Session`.

        Raises: MeasureError: the runtime cannot load or run the model.
        """
        self._require(inputs)
        return self._meters

    def _require(self, inputs: Mapping[str, np.ndarray]) -> None:
        if inputs is not self._inputs:
            self.run(inputs)

    def _ask(self, request: Mapping[str, Any]) -> Any:
        process = self._started()
        assert process.stdin and process.stdout
        try:
            os.killpg(process.pid, signal.SIGCONT)
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            if not is_ready(process.stdout.fileno(), select.POLLIN, LIMIT_S):
                os.killpg(process.pid, signal.SIGKILL)
                raise MeasureError(f"no answer to {request['do']!r} within {LIMIT_S} s")
            line = process.stdout.readline()
            if line:  # a process that closes its pipe is ending: stopped, it would never
                _stop(process.pid)
        except OSError:
            line = ""
        if not line:
            raise MeasureError(self._last_words(process.wait()))
        answer = json.loads(line)
        if "error" in answer:
            raise MeasureError(answer["error"])
        return answer

    def _last_words(self, code: int) -> str:
        assert self._log
        self._log.seek(0)
        said = last_line(self._log.read()) or "without a word"
        how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process died {how}: {said}"[:300]

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # a request that a dead process has not read
                if pipe:
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stop(pid: int) -> None:
    """Stop a process and wait until all of its threads stand still, or it has ended."""
    os.killpg(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
