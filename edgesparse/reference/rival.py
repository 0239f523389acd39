"""ONNX Runtime as its users run it, to be timed: all graph optimisations, sequential execution; threads spin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime

PACKAGES = ("onnxruntime",)


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open an ONNX file.

    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, inputs), strict=True))
