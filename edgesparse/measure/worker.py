"""One runtime in a process of its own, stopped while others run; `serve.py` is its other side."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SERVE = Path(__file__).with_name("serve.py")
LIMIT_S = 1200  # for one answer; some convert the model first


class Unavailable(Exception):
    """A runtime cannot take part; the message says why in one line."""


class Worker:
    """A runtime with one model; `python` is the interpreter of its environment, with options.

    Between calls the whole process is stopped, so that threads that spin while they wait take no time from others.

    Raises: Unavailable: the process cannot be started, or dies.
    """

    def __init__(self, python: Sequence[str], runtime: Path, log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [*python, str(SERVE), str(runtime)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def load(self, model: Path, threads: int, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Any]:
        """Load a model and run it once; returns its outputs by name, and the answer.

        Raises: Unavailable: the runtime cannot load or run it.
        """
        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            given, got = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
            np.savez(given, allow_pickle=False, **inputs)
            request = {"do": "load", "model": str(model), "threads": threads, "inputs": str(given), "outputs": str(got)}
            answer = self._ask(request)
            with np.load(got) as outputs:
                return dict(outputs), answer

    def run(self, times: int) -> list[int]:
        """Run once uncounted and then `times` times; returns nanoseconds.

        Raises: Unavailable: the run fails.
        """
        nanoseconds: list[int] = self._ask({"do": "run", "times": times})["ns"]
        return nanoseconds

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        try:
            os.killpg(self._process.pid, signal.SIGCONT)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], LIMIT_S)
            if not ready:
                raise Unavailable(f"no answer to {request['do']!r} within {LIMIT_S} s")
            line = self._process.stdout.readline()
            if line:  # a process that closes its pipe is ending: stopped, it would never
                self._stop()
        except OSError:
            line = ""
        if not line:
            raise Unavailable(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def _stop(self) -> None:
        """Stop the process and wait until all of its threads stand still, or it has ended."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _last_words(self) -> str:
        code = self._process.wait()
        lines: Sequence[str] = self._log.read_text(errors="replace").strip().splitlines()
        return f"its process died with exit code {code}: {lines[-1] if lines else 'without a word'}"[:300]

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
