"""What docs/raspberry-pi.md and runtime/README.md say of a board is so on Debian for arm64."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import edgesparse
from runtime import build
from runtime.tests.conftest import run_program
from tests.cli.models import classifier
from tests.conftest import ROOT
from tests.e2e.debian import debian, inside
from tests.models import assert_close, ort_run

PI = (ROOT / "docs" / "raspberry-pi.md").read_text()
README = (build.HERE / "README.md").read_text()
MAIN = """
#include <stdio.h>
int main(void)
{
    static float image[192], scores[5];
    FILE *const in = fopen("image.bin", "rb"), *const out = fopen("c.bin", "wb");
    if (fread(image, sizeof image, 1, in) != 1 || classify(image, sizeof image, scores, sizeof scores) != 0) return 1;
    return fwrite(scores, sizeof scores, 1, out) != 1 || fclose(out) != 0;
}
"""


def printed(page: str, language: str, word: str) -> str:
    """The block of code with `word` that a page prints."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if word in block)


@pytest.fixture
def board():
    """A folder on the board with what `edgesparse runtime` gives, a model, and an input."""
    root = debian()
    with tempfile.TemporaryDirectory(dir=root / "root") as folder:
        edgesparse.runtime("rpi4", Path(folder))
        model = classifier(Path(folder) / "model.onnx")
        edgesparse.compile(model, "rpi4", Path(folder) / "model.rpi4.esp")
        np.save(Path(folder) / "image.npy", image := np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32))
        image.tofile(Path(folder) / "image.bin")
        yield Path(folder)


@pytest.mark.slow(part="boards")
def test_board_runs_models_as_the_docs_say(board, tmp_path):
    (expected,) = ort_run(board / "model.onnx", {"image": np.load(board / "image.npy")})
    install = printed(PI, "sh", "--system-site-packages").split("\n", 1)[1]  # what apt installs is there
    app = printed(PI, "python", "Model(")
    (board / "app.py").write_text(
        f"import numpy\nimage = numpy.load('image.npy')\n{app}\n"
        "numpy.save('python.npy', outputs['scores'])\nprint(numpy.__file__)\n"
    )

    python = inside(board, install)
    refused = inside(board, "env/bin/pip --python /usr/bin/python3 install *.whl")
    esrun = inside(board, "./esrun model.rpi4.esp --input image.npy --output esrun.npy --threads 4")

    assert python.returncode == esrun.returncode == 0, python.stderr + esrun.stderr
    assert python.stdout.endswith("/usr/lib/python3/dist-packages/numpy/__init__.py\n")
    assert refused.returncode != 0 and "externally-managed-environment" in refused.stderr
    for name in ("python", "esrun"):
        assert_close(np.load(board / f"{name}.npy"), expected)


@pytest.mark.slow(part="boards")
def test_static_library_runs_in_a_program_of_the_boards_libc(board):
    (expected,) = ort_run(board / "model.onnx", {"image": np.load(board / "image.npy")})
    (board / "app.c").write_text("#include <stdio.h>\n" + printed(README, "c", "classify") + MAIN)
    shutil.copy(board / "model.rpi4.esp", board / "model.esp")
    files = (f"-I{board}", board / "app.c", board / "libedgesparse.a", "-pthread", "-o", board / "app")
    compiled = run_program(*build.zig(), "cc", "-target", "aarch64-linux-gnu.2.36", *files, timeout=600)

    ran = inside(board, "./app")

    assert (compiled.returncode, ran.returncode) == (0, 0), compiled.stderr + ran.stderr
    assert_close(np.fromfile(board / "c.bin", np.float32).reshape(1, 5), expected)
