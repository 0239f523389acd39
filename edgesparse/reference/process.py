"""Start, ask and replace the process that holds ONNX Runtime."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

from edgesparse.errors import OnnxRuntimeError
from edgesparse.reference import child

START_LIMIT_S = 120.0
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*?\)(?: const)? ")
"""The kind of an error, and the place in the sources of ONNX Runtime."""


class Process:
    """ONNX Runtime in a process of its own."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            quiet = subprocess.DEVNULL
            words = [sys.executable, "-P", str(Path(child.__file__)), str(theirs.fileno())]
            self._popen = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=[theirs.fileno()])
        self._dropped: list[int] = []
        self._receive("start", START_LIMIT_S)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._connection.closed and self._popen.poll() is None

    def drop(self, number: int) -> None:
        """Close a session before the next request; a finalizer may call this at any time."""
        self._dropped.append(number)

    def ask(self, doing: str, limit_s: float, *request: object) -> Any:
        """Send a request and return the answer.

        Args:
            doing: what the request is for, after "cannot".
            limit_s: how long the answer may take.

        Raises: OnnxRuntimeError: what ONNX Runtime says, or that the process crashed or took too long; it is gone then.
        """
        if self._dropped:
            numbers, self._dropped = self._dropped, []
            self._exchange("close a session", limit_s, "close", numbers)
        return self._exchange(doing, limit_s, *request)

    def _exchange(self, doing: str, limit_s: float, *request: object) -> Any:
        try:
            child.send(self._connection, request)
        except OSError:
            raise self._crashed(doing) from None
        except BaseException:
            self.stop()  # interrupted in the middle of a message
            raise
        return self._receive(doing, limit_s)

    def _receive(self, doing: str, limit_s: float) -> Any:
        try:
            if not self._connection.poll(limit_s):
                self.stop()
                raise OnnxRuntimeError(f"ONNX Runtime cannot {doing}: no answer within {limit_s:g} s")
            status, answer = child.receive(self._connection)
        except (EOFError, OSError):
            raise self._crashed(doing) from None
        except BaseException:
            self.stop()
            raise
        if status == "error":
            raise OnnxRuntimeError(f"ONNX Runtime cannot {doing}: {_first_line(answer)}")
        return answer

    def _crashed(self, doing: str) -> OnnxRuntimeError:
        code = self._popen.wait()  # its end of the socket closed with it
        self._connection.close()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return OnnxRuntimeError(f"ONNX Runtime cannot {doing}: it crashed ({cause})")

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        self._popen.kill()
        self._popen.wait()

    def forget(self) -> None:
        """Leave the process to the one that started it: this one is a fork."""
        self._connection.close()
        self._popen.returncode = 0


_current: Process | None = None
_lock = threading.RLock()  # held from a request to its answer


@contextmanager
def exclusive() -> Iterator[Process]:
    """The process, started where there is none that lives, for this thread alone."""
    global _current
    with _lock:
        if _current is None or not _current.alive:
            _current = Process()
        yield _current


@atexit.register
def stop() -> None:
    """End the process; the next session starts another."""
    global _current
    with _lock:
        if _current is not None and _current.alive:
            _current.stop()
        _current = None


def _forked() -> None:
    global _current, _lock
    _lock = threading.RLock()
    if _current is not None:
        _current.forget()
    _current = None


os.register_at_fork(after_in_child=_forked)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PREFIX.sub("", lines[0]) if lines else "nothing"
