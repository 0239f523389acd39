"""The other runtimes: each a factory that returns a `Runner` for a model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgesparse.errors import MeasureError


class Runner(Protocol):
    """A loaded model."""

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU: all graph optimisations, sequential execution, spinning as it comes.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """

    def __init__(self, model: Path | bytes, threads: int, outputs: Sequence[str] | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        source: Any = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # its exceptions have no common base but Exception
            where = "model" if isinstance(model, bytes) else str(model)
            raise MeasureError(f"{where}: ONNX Runtime cannot open it: {str(err).splitlines()[0]}") from err
        self.outputs = list(outputs or (value.name for value in self._session.get_outputs()))

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference."""
        return dict(zip(self.outputs, self._session.run(self.outputs, feeds), strict=True))


RIVALS: dict[str, Callable[[Path, int], Runner]] = {"onnxruntime": OnnxRuntime}


def open_rival(name: str, model: Path, threads: int) -> Runner:
    """Load `model` into the runtime `name`.

    Raises: MeasureError: the runtime is unknown or not installed, or cannot open the model.
    """
    if name not in RIVALS:
        raise MeasureError(f"unknown runtime {name!r} to measure against; known: {', '.join(RIVALS)}")
    try:
        return RIVALS[name](model, threads)
    except ImportError as err:
        raise MeasureError(f"{name} is not installed; remedy: pip install {name}") from err
