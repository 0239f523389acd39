"""What opening and running a model adds to a process, measured in a process of its own.

    python -m edgesparse.measure.memory artifact model.esp 1 feeds.npz

prints the growth as JSON: from after the imports to the peak during three inferences.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesparse.measure.feeds import Arrays
from edgesparse.measure.figure import Figure, Origin

ARTIFACT = "artifact"
_UNIT = "bytes"
_HOW = "a new process, from after the imports and the inputs to after three inferences"
_SOURCES = {
    "peak": f"growth of the resident set to its peak (VmHWM): {_HOW}",
    "mapped": f"growth of resident file pages (RssFile): {_HOW}",
    "anonymous": f"growth of resident anonymous memory (RssAnon): {_HOW}",
}


@dataclass(frozen=True)
class Memory:
    """Resident memory that a model adds: the peak, and what is mapped from files or anonymous at the end.

    Mapped pages are shared between processes, and given back under pressure.
    """

    peak: Figure
    mapped: Figure
    anonymous: Figure


def measure_memory(runtime: str, model: Path, threads: int, feeds: Arrays) -> Memory:
    """Measure what `model` adds to a process; `runtime` is ARTIFACT or the name of a rival."""
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        saved = Path(folder) / "feeds.npz"
        np.savez(saved, allow_pickle=False, **feeds)
        command = [sys.executable, "-m", "edgesparse.measure.memory", runtime, str(model), str(threads), str(saved)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["the process that measures it died"]
        return _unavailable(lines[-1])
    grown: dict[str, int] | None = json.loads(result.stdout)
    if grown is None:
        return _unavailable("this system has no /proc/self/status")
    return Memory(**{key: Figure(grown[key], _UNIT, Origin.MEASURED, how) for key, how in _SOURCES.items()})


def _unavailable(why: str) -> Memory:
    missing = Figure.unavailable(_UNIT, why)
    return Memory(missing, missing, missing)


def _resident_bytes(process: int) -> dict[str, int] | None:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return {key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _forget_peak(process: int) -> None:
    """Let VmHWM start again from the present size; otherwise the peak of an import could hide the model's."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    except OSError:
        return


def main(runtime: str, model: str, threads: str, saved_feeds: str) -> None:
    """Open and run a model, and print by how much the process that holds it grew: this one, or ONNX Runtime's."""
    import edgesparse_runtime

    from edgesparse import reference
    from edgesparse.measure.rivals import open_rival

    feeds = dict(np.load(saved_feeds))
    process = os.getpid() if runtime == ARTIFACT else reference.process_id()
    _forget_peak(process)
    before = _resident_bytes(process)
    opened = (
        edgesparse_runtime.Model(model, threads=int(threads))
        if runtime == ARTIFACT
        else open_rival(runtime, Path(model), int(threads))
    )
    for _ in range(3):
        opened.run(feeds)
    after = _resident_bytes(process)
    print(json.dumps(_growth(before, after) if before and after else None))


def _growth(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    starts = {"peak": "VmRSS", "mapped": "RssFile", "anonymous": "RssAnon"}
    ends = starts | {"peak": "VmHWM"}
    return {key: max(0, after[ends[key]] - before[start]) for key, start in starts.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
