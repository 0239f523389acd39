"""edgesparse itself, under the same conditions as the others; its version is that of the checkout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

PACKAGES = ()


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open an artifact."""
    from edgesparse_runtime import Model

    return partial(Model(model, threads=threads).run, inputs)
