"""The rooms know of each other what the design allows, and importing the package stays cheap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "scipy", "torch", "tvm")


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_rooms_import_along_the_arrows_only():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("module", ["edgesparse", "edgesparse.cli"])
def test_importing_loads_nothing_heavy(module):
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert python(code).strip() == "[]"


def test_public_functions_keep_their_names_when_the_rooms_are_imported():
    code = "import edgesparse, edgesparse.prune, edgesparse.pipeline; print(callable(edgesparse.prune))"

    assert python(code).strip() == "True"
