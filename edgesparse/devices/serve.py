"""Serve one runtime over pipes: requests and answers are lines of JSON. `worker.py` is the other side.

    python -P edgesparse/devices/serve.py bench/rivals/openvino.py

Runs in the environment of the runtime, so it needs numpy and nothing else. Requests:

    {"do": "load", "model": PATH, "threads": N, "inputs": NPZ, "outputs": NPZ}
        loads, runs four times and writes the outputs; meters cover loading and the first three
        -> {"versions": {PACKAGE: VERSION}, "notes": {...}, "meters": {"peak_bytes": N, ...}}
    {"do": "time", "repeat": N}
        runs once uncounted, to have its data in the caches again, then N times -> {"ns": [...]}

The answer {"error": TEXT} says in one line what failed. The file named on the command line has `PACKAGES`, names of
distributions, and `load(model, threads, inputs)`, which returns a function that runs the model once; where there is
more to say, also `notes(run)` of that function. What the file imports by itself, and not in `load`, is no memory of
the model.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

PR_SET_PDEATHSIG = 1  # of Linux: the signal to get when the parent dies
Run = Callable[[], dict[str, Any]]


def serve(runtime: Any, requests: Iterable[str], answers: TextIO) -> None:
    """Answer requests until there are no more."""
    run: Run = dict
    for line in requests:
        request = json.loads(line)
        try:
            if request["do"] == "load":
                run = dict  # what was loaded before is freed
                run, answer = load(runtime, request)
            else:
                answer = {"ns": timed(run, request["repeat"])}
        except Exception as err:
            answer = {"error": " ".join(f"{type(err).__name__}: {err}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def load(runtime: Any, request: Any) -> tuple[Run, dict[str, Any]]:
    """Load a model and run it; returns what runs it, and the answer."""
    inputs = dict(np.load(request["inputs"]))
    forget_peak()
    before = resident()
    run: Run = runtime.load(request["model"], request["threads"], inputs)
    for _ in range(3):
        run()
    meters = growth(before, resident())
    outputs: dict[str, Any] = {name: np.asarray(array) for name, array in run().items()}
    np.savez(request["outputs"], **outputs)
    notes = runtime.notes(run) if hasattr(runtime, "notes") else {}
    versions = {name: importlib.metadata.version(name) for name in runtime.PACKAGES}
    return run, {"versions": versions, "notes": notes, "meters": meters}


def timed(run: Run, repeat: int) -> list[int]:
    """Wall time of each of `repeat` runs in nanoseconds, after one that is not counted."""
    taken = []
    gc.disable()
    try:
        run()
        for _ in range(repeat):
            start = time.perf_counter_ns()
            run()
            taken.append(time.perf_counter_ns() - start)
    finally:
        gc.enable()
    return taken


def resident() -> dict[str, int]:
    """What Linux says of this process, sizes in bytes; nothing elsewhere."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return {}
    return {key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def forget_peak() -> None:
    """Let VmHWM start again from the present size; otherwise the peak of an import could hide the model's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def growth(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """By how much the resident set grew: to its peak, and what of it is mapped from files or anonymous at the end."""
    pairs = {
        "peak_bytes": ("VmRSS", "VmHWM"),
        "mapped_bytes": ("RssFile", "RssFile"),
        "anonymous_bytes": ("RssAnon", "RssAnon"),
    }
    known = {name: pair for name, pair in pairs.items() if pair[0] in before and pair[1] in after}
    return {name: max(0, after[end] - before[start]) for name, (start, end) in known.items()}


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
