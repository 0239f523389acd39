"""Who is compared: edgesparse and its rivals, each in an environment of its own where it needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesparse.devices.worker import BUILD, PYTHON
from edgesparse.errors import MeasureError
from edgesparse.measure import RIVALS as BUILT_IN
from edgesparse.measure import Latency

HERE = Path(__file__).with_name("rivals")
ENVIRONMENTS = Path("build/rivals")
TOLERANCE = {"f32": 1e-3, "int8": 0.1}
"""Largest relative error of outputs, in the L2 norm; bf16 in place of f32 already exceeds the first."""


@dataclass(frozen=True)
class Runtime:
    """A runtime: `file` is what the worker serves, and a .txt beside it what its environment holds, if it has one.

    `forms` of models that it is measured on: "dense", "int8" (dense), "pruned".
    """

    name: str
    title: str
    file: Path
    forms: tuple[str, ...] = ("dense",)
    python: str = ""  # the only version that it runs on, such as "3.11"

    @property
    def requirements(self) -> Path | None:
        """What its environment holds; None if it runs in ours."""
        path = self.file.with_suffix(".txt")
        return path if path.exists() else None


EDGESPARSE = Runtime("edgesparse", "edgesparse", BUILD, ("pruned",))
PEAK = Runtime("peak", "multiply-adds from L1", HERE / "peak.py")
RIVALS = (
    Runtime("onnxruntime", "ONNX Runtime", BUILT_IN["onnxruntime"], ("dense", "int8")),
    Runtime("openvino", "OpenVINO", HERE / "openvino.py", ("dense", "int8")),
    Runtime("litert", "LiteRT", HERE / "litert.py"),
    Runtime("mnn", "MNN", HERE / "mnn.py"),
    Runtime("deepsparse", "DeepSparse", HERE / "deepsparse.py", ("pruned",), python="3.11"),
)


@dataclass(frozen=True)
class Contender:
    """One runtime with one file. `reference` is the ONNX file that says what it should compute, if anything.

    `facts` are known before it runs, such as how long it took to compile.
    """

    runtime: Runtime
    file: Path
    reference: Path | None
    precision: str = "f32"
    density: float = 1.0
    pattern: str = "1x1"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.runtime.title + (" int8" if self.precision == "int8" else "")


@dataclass(frozen=True)
class Result:
    """What a contender reached, or in one line why it is unavailable.

    `error` is that of its outputs, relative to those of ONNX Runtime, in the L2 norm.
    """

    contender: Contender
    latency: Latency | None = None
    unavailable: str = ""
    error: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def command(runtime: Runtime, environments: Path = ENVIRONMENTS) -> Sequence[str]:
    """The Python that `runtime` runs in, with its options; makes its environment on first use.

    Raises: MeasureError: it cannot be installed.
    """
    if runtime.requirements is None:
        return PYTHON
    folder = environments.absolute() / runtime.name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = runtime.requirements.read_text()
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _sh([_interpreter(runtime), "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--only-binary", ":all:"]
        _sh([*pip, "-r", str(runtime.requirements)])
        stamp.write_text(wanted)
    return [str(python), "-I"]


def _interpreter(runtime: Runtime) -> str:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if runtime.python in ("", ours):
        return sys.executable
    found = shutil.which(f"python{runtime.python}")
    if not found:
        raise MeasureError(f"needs Python {runtime.python}, got {ours}, and there is no python{runtime.python}")
    return found


def _sh(words: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()[-1:]
        raise MeasureError(f"cannot be installed: {lines[0] if lines else words}"[:300])
