"""What tests of several rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("TVM_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs `edgesparse ARGUMENTS...` in an empty directory, as a person would."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgesparse", *map(str, arguments)]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "runtime" / "python"), os.environ.get("PYTHONPATH", "")])
        settings = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": paths}, "timeout": 300} | options
        return subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]

    return run
