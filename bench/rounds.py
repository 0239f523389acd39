"""Contenders measured in turns, each in its own process, so that noise hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.contenders import TOLERANCE, Contender, Result, command
from bench.worker import Unavailable, Worker
from edgesparse.measure import summarise

TURN_NS = 60e6
MIN_ROUNDS = 5
Arrays = Mapping[str, np.ndarray]
Expected = Callable[[Path], Arrays]
"""The outputs of an ONNX file for the inputs in question."""


def measure(
    contenders: Sequence[Contender], threads: int, inputs: Arrays, expected: Expected, seconds: float, logs: Path
) -> list[Result]:
    """Load all contenders, check what they compute, and time those that are right; one result each, in order.

    A turn is one run that is not counted and then as many as fit TURN_NS, at least two.
    """
    with ExitStack() as stack:
        results: list[Result] = []
        workers: dict[int, Worker] = {}
        for at, contender in enumerate(contenders):
            try:
                log = logs / f"{contender.runtime.name}-{at}.log"
                worker = Worker([*command(contender.runtime)], contender.runtime.file, log)
                stack.callback(worker.close)
                results.append(_loaded(worker, contender, threads, inputs, expected))
                workers[at] = worker
            except Unavailable as err:
                results.append(Result(contender, unavailable=str(err)))
        times, failures = _rounds(workers, seconds)
    for at, why in failures.items():
        results[at] = Result(contenders[at], unavailable=why)
    return [
        replace(result, latency=summarise([ns / 1000 for ns in times[at]])) if at in times else result
        for at, result in enumerate(results)
    ]


def _loaded(worker: Worker, contender: Contender, threads: int, inputs: Arrays, expected: Expected) -> Result:
    """Raises: Unavailable: it cannot load the model, or computes something else."""
    outputs, answer = worker.load(contender.file, threads, inputs)
    error = None
    if contender.reference:
        error = relative_error(outputs, expected(contender.reference))
        limit = TOLERANCE[contender.precision]
        if not error <= limit:
            raise Unavailable(f"computes something else: relative error {error:.2g}, expected at most {limit:g}")
    return Result(contender, error=error, versions=answer["versions"], notes=answer["notes"])


def relative_error(actual: Arrays, expected: Arrays) -> float:
    """Norm of the difference over the norm of what is expected; the largest of all outputs.

    Outputs belong together by name, or by position where names were lost.
    """
    if len(actual) != len(expected):
        return float("inf")
    errors = []
    for (name, wanted), substitute in zip(expected.items(), actual.values(), strict=True):
        got = actual.get(name, substitute)
        if got.size != wanted.size:
            return float("inf")
        difference = got.reshape(wanted.shape).astype(np.float64) - wanted
        errors.append(float(np.linalg.norm(difference) / max(float(np.linalg.norm(wanted)), 1e-30)))
    return max(errors)


def _rounds(workers: dict[int, Worker], seconds: float) -> tuple[dict[int, list[int]], dict[int, str]]:
    """Nanoseconds of the runs by contender, and why contenders that failed on the way did."""
    times: dict[int, list[int]] = {at: [] for at in workers}
    turns = dict.fromkeys(workers, 3)
    failures: dict[int, str] = {}
    end, rounds = time.monotonic() + seconds, 0
    while times and (rounds <= MIN_ROUNDS or time.monotonic() < end):
        for at in list(times):
            try:
                taken = workers[at].run(turns[at])
            except Unavailable as err:
                failures[at] = str(err)
                del times[at]
                continue
            if rounds:
                times[at] += taken
            else:  # the first round warms up, and says how many runs fill a turn
                turns[at] = max(2, min(50, int(TURN_NS / statistics.median(taken))))
        rounds += 1
    return times, failures
