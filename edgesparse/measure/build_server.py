"""One build of edgesparse, served by `serve.py` in its own environment: it opens artifacts, and compiles models first.

Of edgesparse it uses only what every build has: `compile(model, target, output, input_shapes=)` and `Model.run`. The
options of `compile` lie beside MODEL.onnx in MODEL.json.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = ()


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Open an artifact, or what this build makes of an ONNX file in another process, which leaves nothing here."""
    from edgesparse_runtime import Model

    artifact = Path(model).with_suffix(".esp")
    if artifact != Path(model):
        made = subprocess.run([sys.executable, "-I", __file__, model], capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError((made.stderr.strip().splitlines() or ["it does not compile the model"])[-1])
    opened = Model(artifact, threads=threads)

    def run() -> dict[str, Any]:
        outputs: dict[str, Any] = opened.run(inputs)
        return outputs

    run.notes = {"build": describe()}  # type: ignore[attr-defined]
    return run


def describe() -> str:
    """Version and folder of the build, and the commit where that is a checkout."""
    folder = Path(str(_build().__file__)).resolve().parents[1]
    words = f"edgesparse {importlib.metadata.version('edgesparse')} in {folder}"
    if not (folder / ".git").exists():
        return words
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{words} ({found.stdout.strip()})" if found.returncode == 0 else words


def _build() -> ModuleType:
    """The edgesparse of the environment; this file is no module of it, only stored with one."""
    return importlib.import_module("edgesparse")


def main(model: str) -> None:
    """Compile a model, beside it."""
    path = Path(model)
    options = json.loads(path.with_suffix(".json").read_text())
    shapes = {name: tuple(shape) for name, shape in options["input_shapes"].items()}
    _build().compile(path, options["target"], path.with_suffix(".esp"), input_shapes=shapes)


if __name__ == "__main__":
    main(sys.argv[1])
