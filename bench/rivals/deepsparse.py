"""DeepSparse, the engine that used zeros; its last releases want Python 3.11 and numpy below 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("deepsparse",)


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Compile an ONNX file."""
    import deepsparse
    import numpy as np

    engine = deepsparse.Engine(model, batch_size=1, num_cores=threads)
    arrays = [np.ascontiguousarray(inputs[name]) for name in engine.input_names]
    return lambda: dict(zip(engine.output_names, engine.run(arrays, val_inp=False), strict=True))
