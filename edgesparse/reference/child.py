"""The process that holds ONNX Runtime, and onnx to infer shapes: it answers requests in turn, and ends with its parent.

It is run as a file and imports nothing of edgesparse, so that it starts fast and a crash takes nothing of ours along.
The parent imports `send` and `receive` from here; it never imports ONNX Runtime.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

INFERENCE_BYTES = 1 << 30
"""Memory that the inference of shapes may take: onnx writes out the numbers that a Range counts."""

INFERENCE_SECONDS = 120
"""After which this process ends if it still infers: onnx lets no other thread see that the parent is gone."""


def send(connection: Connection, message: object) -> None:
    """Send any message; arrays in it are not copied into the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    raws = [buffer.raw() for buffer in buffers]
    connection.send([raw.nbytes for raw in raws])
    connection.send_bytes(data)
    for raw in raws:
        if raw.nbytes:
            connection.send_bytes(raw)


def receive(connection: Connection) -> Any:
    """What the other end has sent; the arrays in it can be written to.

    Raises: EOFError, OSError: the other end is gone.
    """
    sizes = connection.recv()
    data = connection.recv_bytes()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if buffer.nbytes:
            connection.recv_bytes_into(buffer)
    return pickle.loads(data, buffers=buffers)


class _Sessions:
    """The sessions of this process by number; every method answers one kind of request."""

    def __init__(self) -> None:
        import onnxruntime

        self._ort = onnxruntime
        self._open: dict[int, Any] = {}

    def open(self, number: int, model: str | np.ndarray, threads: int, optimised: bool) -> tuple[list[str], list[str]]:
        """Open a model, from a file or from its bytes; returns the names of its inputs and outputs."""
        options = self._ort.SessionOptions()
        level = self._ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        source = model if isinstance(model, str) else model.tobytes()
        session = self._ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._open[number] = session
        return [value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()]

    def run(self, number: int, feeds: dict[str, np.ndarray]) -> list[np.ndarray | None]:
        """One inference; None for outputs that are no tensors."""
        results = self._open[number].run(None, feeds)
        return [array if isinstance(array, np.ndarray) else None for array in results]

    def infer(self, model: np.ndarray, strict: bool) -> np.ndarray | str:
        """The model with what onnx infers of its shapes, or what onnx finds wrong with it."""
        import onnx

        data = model.tobytes()
        with _bounded(INFERENCE_BYTES + 4 * len(data)):
            try:
                inferred = onnx.shape_inference.infer_shapes(
                    data, check_type=strict, strict_mode=strict, data_prop=True
                )
            except MemoryError:
                raise
            except Exception as err:
                return str(err)
            return np.frombuffer(inferred.SerializeToString(), np.uint8)

    def close(self, numbers: list[int]) -> None:
        """Forget sessions."""
        for number in numbers:
            self._open.pop(number, None)


@contextmanager
def _bounded(room_bytes: int) -> Iterator[None]:
    """Limit this process in time, and to `room_bytes` beyond its present memory where the system tells that."""
    signal.alarm(INFERENCE_SECONDS)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = Path("/proc/self/statm")
    if held.exists():
        wanted = int(held.read_text().split()[0]) * resource.getpagesize() + room_bytes
        soft = wanted if limits[0] == resource.RLIM_INFINITY else min(wanted, limits[0])
        resource.setrlimit(resource.RLIMIT_AS, (soft, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)


def _end_with_parent(fd: int) -> None:
    """Leave when the other end of the socket closes, in the middle of an inference too."""
    poll = select.poll()
    poll.register(fd, select.POLLHUP)
    poll.poll()
    os._exit(0)


def _serve(connection: Connection) -> None:
    sessions = _Sessions()
    send(connection, ("ok", None))
    while True:
        request, *arguments = receive(connection)
        try:
            answer = ("ok", getattr(sessions, request)(*arguments))
        except Exception as err:  # ONNX Runtime's exceptions have no common base; the parent turns them into its own
            answer = ("error", f"{err}" or type(err).__name__)
        send(connection, answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    socket = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=[socket.fileno()], daemon=True).start()
    _serve(socket)
