"""Serve one runtime over pipes: requests and answers are lines of JSON. `worker.py` is the other side.

    python -P edgesparse/measure/serve.py bench/rivals/openvino.py

Runs in the environment of the runtime, so it needs numpy and nothing else. Requests:

    {"do": "load", "model": PATH, "threads": N, "inputs": NPZ, "outputs": NPZ}
        loads, runs once and writes the outputs -> {"versions": {PACKAGE: VERSION}, "notes": {...}}
    {"do": "run", "times": N}
        runs once uncounted, to have its data in the caches again, then N times -> {"ns": [...]}
    {"do": "quit"}

The answer {"error": TEXT} says in one line what failed. The file named on the command line has `PACKAGES`, names of
distributions, and `load(model, threads, inputs)`, which returns a function that runs the model once.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import numpy as np

PR_SET_PDEATHSIG = 1  # of Linux: the signal to get when the parent dies
Run = Callable[[], dict[str, Any]]


def serve(runtime: Any, requests: Iterable[str], answers: TextIO) -> None:
    """Answer requests until one says to quit, or there are no more."""
    run: Run = dict
    for line in requests:
        request = json.loads(line)
        try:
            if request["do"] == "quit":
                return
            if request["do"] == "load":
                inputs = dict(np.load(request["inputs"]))
                run = runtime.load(request["model"], request["threads"], inputs)
                outputs: dict[str, Any] = {name: np.asarray(array) for name, array in run().items()}
                np.savez(request["outputs"], **outputs)
                versions = {name: importlib.metadata.version(name) for name in runtime.PACKAGES}
                answer: dict[str, Any] = {"versions": versions, "notes": getattr(run, "notes", {})}
            else:
                answer = {"ns": timed(run, request["times"])}
        except Exception as err:
            answer = {"error": " ".join(f"{type(err).__name__}: {err}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def timed(run: Run, times: int) -> list[int]:
    """Wall time of each of `times` runs in nanoseconds, after one that is not counted."""
    taken = []
    gc.disable()
    run()
    for _ in range(times):
        start = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - start)
    gc.enable()
    return taken


def main(path: str) -> None:
    """Serve the runtime that the file `path` describes; what libraries print goes to stderr."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a stopped process does not see its pipe close
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("runtime", path)
    assert spec and spec.loader
    runtime = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtime)
    serve(runtime, sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1])
