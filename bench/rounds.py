"""Contenders measured in turns, each in its own process, so that noise hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.contenders import TOLERANCE, Contender, Result, command
from edgesparse.measure import Unavailable, Worker, summarise, take_turns

Arrays = Mapping[str, np.ndarray]
Expected = Callable[[Path], Arrays]
"""The outputs of an ONNX file for the inputs in question."""


def measure(
    contenders: Sequence[Contender], threads: int, inputs: Arrays, expected: Expected, seconds: float, logs: Path
) -> list[Result]:
    """Load all contenders, check what they compute, and time those that are right; one result each, in order."""
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
        times, failures = take_turns(workers, seconds)
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
