"""The other runtimes: each a factory that returns a `Runner` for a model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from edgesparse import reference
from edgesparse.errors import MeasureError, OnnxRuntimeError


class Runner(Protocol):
    """A loaded model."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference."""
        ...

    def time_ns(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How long one inference takes."""
        ...


def _onnxruntime(model: Path, threads: int) -> Runner:
    """ONNX Runtime on the CPU: all graph optimisations, sequential execution, spinning as it comes.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """
    return reference.Session(model, threads=threads, optimised=True)


RIVALS: dict[str, Callable[[Path, int], Runner]] = {"onnxruntime": _onnxruntime}


def open_rival(name: str, model: Path, threads: int) -> Runner:
    """Load `model` into the runtime `name`.

    Raises: MeasureError: the runtime is unknown, or cannot open the model.
    """
    if name not in RIVALS:
        raise MeasureError(f"unknown runtime {name!r} to measure against; known: {', '.join(RIVALS)}")
    try:
        return RIVALS[name](model, threads)
    except OnnxRuntimeError as err:
        raise MeasureError(str(err)) from err
