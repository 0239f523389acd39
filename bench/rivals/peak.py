"""No runtime: multiply-adds fed from L1, the limit of what any kernel reaches. `bench/limit.py` compiles `peak.c`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

PACKAGES = ()
VECTORS = 192  # of peak.c
REPEATS = 10_000
BYTES = 64 * VECTORS


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open the library `model`; `threads` and `inputs` do not matter."""
    import numpy as np

    function = ctypes.CDLL(model).peak
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long)
    memory = np.zeros(2 * BYTES + 64, np.uint8)
    x = memory.ctypes.data + -memory.ctypes.data % 64

    def run() -> dict[str, Any]:
        function(x, x + BYTES, REPEATS)
        return {}

    run.memory = memory  # type: ignore[attr-defined]  # lives as long as what uses it
    return run
