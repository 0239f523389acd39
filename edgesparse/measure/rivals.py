"""The other runtimes that are measured against; each is a file that `devices/serve.py` serves."""

from __future__ import annotations

from pathlib import Path

from edgesparse import reference
from edgesparse.devices.worker import Worker
from edgesparse.errors import MeasureError

RIVALS = {"onnxruntime": Path(reference.__file__).with_name("rival.py")}


def open_rival(name: str, model: Path, threads: int) -> Worker:
    """`model` in the runtime `name`, which loads it as soon as it is timed.

    Raises: MeasureError: the runtime is unknown.
    """
    if name not in RIVALS:
        raise MeasureError(f"unknown runtime {name!r} to measure against; known: {', '.join(RIVALS)}")
    return Worker(RIVALS[name], model, threads)
