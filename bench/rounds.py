"""Contenders measured in turns, each in its own process, so that noise hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.contenders import TOLERANCE, Contender, Result, command
from edgesparse.devices.worker import Worker
from edgesparse.errors import MeasureError
from edgesparse.measure import take_turns

Arrays = Mapping[str, np.ndarray]
Expected = Callable[[Path], Arrays]
"""The outputs of an ONNX file for the inputs in question."""


def measure(
    contenders: Sequence[Contender], threads: int, inputs: Arrays, expected: Expected, seconds: float, logs: Path
) -> list[Result]:
    """Load all contenders, check what they compute, and time those that are right; one result each, in order."""
    failures: dict[int, str] = {}
    workers: dict[int, Worker] = {}
    results = [Result(contender) for contender in contenders]
    with ExitStack() as stack:
        for at, contender in enumerate(contenders):
            log = logs / f"{contender.runtime.name}-{at}.log"
            try:
                python = command(contender.runtime)
                worker = Worker(contender.runtime.file, contender.file, threads, python=python, log=log)
                stack.callback(worker.close)
                results[at] = _checked(worker, contender, inputs, expected)
                workers[at] = worker
            except MeasureError as err:
                failures[at] = str(err)
        latencies = take_turns(workers, inputs, seconds, failures)
    for at, latency in latencies.items():
        results[at] = replace(results[at], latency=latency)
    for at, why in failures.items():
        results[at] = Result(contenders[at], unavailable=why)
    return results


def _checked(worker: Worker, contender: Contender, inputs: Arrays, expected: Expected) -> Result:
    """Raises: MeasureError: it cannot load the model, or computes something else."""
    outputs = worker.run(inputs)
    error = None
    if contender.reference:
        error = relative_error(outputs, expected(contender.reference))
        limit = TOLERANCE[contender.precision]
        if not error <= limit:
            raise MeasureError(f"computes something else: relative error {error:.2g}, expected at most {limit:g}")
    return Result(contender, error=error, versions=worker.versions, notes=worker.notes)


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
