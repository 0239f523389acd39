"""One build of edgesparse, served by `serve.py` in its own environment: it opens artifacts, and compiles models first.

Of edgesparse it uses only what every build has: `compile(model, target, output, input_shapes=)` and `Model.run`. The
options of `compile` lie beside MODEL.onnx in MODEL.json.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from edgesparse_runtime import Model

PACKAGES = ()
PR_SET_PDEATHSIG = 1  # of Linux: the signal to get when the parent dies
MAGIC = b"\x89ESP"  # of artifacts


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open an artifact, or what this build makes of an ONNX file in another process, which leaves nothing here."""
    with Path(model).open("rb") as file:
        artifact = Path(model) if file.read(len(MAGIC)) == MAGIC else Path(model).with_suffix(".esp")
    if artifact != Path(model):
        made = subprocess.run([sys.executable, "-I", __file__, model], capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError((made.stderr.strip().splitlines() or ["it does not compile the model"])[-1])
    return partial(Model(artifact, threads=threads).run, inputs)


def notes(_: object) -> dict[str, str]:
    """Version and folder of the build, and the commit where that is a checkout."""
    folder = Path(str(_build().__file__)).resolve().parents[1]
    words = f"edgesparse {_build().__version__} in {folder}"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    if (folder / ".git").exists() and shutil.which("git"):
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        words += f" ({found.stdout.strip()})" if found.returncode == 0 else ""
    return {"build": words}


def _build() -> ModuleType:
    """The edgesparse of the environment; this file is no module of it, only stored with one."""
    return importlib.import_module("edgesparse")


def main(model: str) -> None:
    """Compile a model, beside it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # who waits for it may be killed
    path = Path(model)
    options = json.loads(path.with_suffix(".json").read_text())
    shapes = {name: tuple(shape) for name, shape in options["input_shapes"].items()}
    _build().compile(path, options["target"], path.with_suffix(".esp"), input_shapes=shapes)


if __name__ == "__main__":
    main(sys.argv[1])
