"""What the README prints is run as it is printed, in a folder with a model of the reader's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime import build
from tests.e2e.flow import emulated

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MODEL = """
<ir_version: 9, opset_import: ["" : 20]>
classifier (float[1, 3, 224, 224] image) => (float[1, 5] scores) {
    [stem] a = Conv <kernel_shape = [7, 7], strides = [4, 4]> (image, stem_weight)
    [stem_relu] b = Relu (a)
    [body] c = Conv <kernel_shape = [3, 3], strides = [2, 2]> (b, body_weight)
    [body_relu] d = Relu (c)
    [pool] e = GlobalAveragePool (d)
    [flat] f = Flatten (e)
    [head] scores = Gemm (f, head_weight)
}
"""
WEIGHTS = {"stem_weight": (8, 3, 7, 7), "body_weight": (32, 8, 3, 3), "head_weight": (32, 5)}
MODULE = "from torch import nn; module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))"
FACTORY = f"import torch\n{MODULE}\ndef factory():\n    return module, torch.zeros(1, 3, 8, 8)\n"


def blocks(language: str) -> list[str]:
    """The blocks of code that the README prints."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


COMMANDS = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
MAKE = [command for command in COMMANDS if command.startswith("make ")]
OF_TORCH = [command for command in COMMANDS if re.search(r"--recover|\.pt2|package\.module", command)]
PROGRAMS = [block for block in blocks("python") if "example_inputs" not in block]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader has: a model, samples, labels, a frame, and esrun on the board."""
    folder, rng = tmp_path_factory.mktemp("reader"), np.random.default_rng(0)
    model = onnx.parser.parse_model(MODEL)
    for name, shape in WEIGHTS.items():
        weight = rng.normal(0.0, 0.2, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(model, folder / "model.onnx")
    images = rng.random((96, 3, 224, 224), np.float32)
    np.savez(folder / "samples.npz", image=images)
    np.save(folder / "in.npy", images[:1])
    (folder / "labels.txt").write_text("cat\ndog\nbird\nfish\nhorse\n")
    (folder / "frame.ppm").write_bytes(b"P6 640 480 255\n" + rng.integers(0, 256, 480 * 640 * 3, np.uint8).tobytes())
    board = folder / "esrun"
    board.write_text(f'#!/bin/sh\nexec {" ".join(emulated("aarch64"))} {build.esrun("aarch64")} "$@"\n')
    board.chmod(0o755)
    return folder


def run(command: str, folder: Path) -> str:
    """Run a line of the shell with this environment's programs; what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_commands_run_as_they_are_printed(folder):
    assert len(COMMANDS) > 15
    said = {command: run(command, folder) for command in COMMANDS if command not in (*MAKE, *OF_TORCH)}

    assert {"model.rpi4.esp", "out.npy", "sparse.onnx", "small.onnx", "sparse.host.esp", "pi"} <= set(
        os.listdir(folder)
    )
    (verified,) = (text for command, text in said.items() if command.startswith("edgesparse verify"))
    assert "the outputs agree" in verified
    (top,) = (text for command, text in said.items() if command.startswith("./esrun") and "--image" in command)
    assert all(label in top for label in (folder / "labels.txt").read_text().split())


def test_programs_run_as_they_are_printed(folder):
    """But for the artifact of a board, which would be refused here."""
    run("edgesparse compile model.onnx --target host", folder)
    needed = "import edgesparse, numpy; images = numpy.load('samples.npz')['image']; image = images[:1]"
    for program in PROGRAMS:
        (folder / "program.py").write_text(f"{needed}\n{program}".replace("model.rpi5.esp", "model.host.esp"))
        run("python program.py", folder)


@pytest.mark.slow(part="torch")
def test_commands_of_torch_run_as_they_are_printed(folder):
    torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
    (folder / "package").mkdir()
    (folder / "package" / "module.py").write_text(FACTORY)
    namespace: dict[str, object] = {}
    exec(FACTORY, namespace)
    torch.export.save(torch.export.export(namespace["module"].eval(), (torch.zeros(1, 3, 8, 8),)), folder / "model.pt2")

    for command in OF_TORCH:
        run(command, folder)
    (program,) = (block for block in blocks("python") if "example_inputs" in block)
    (folder / "program.py").write_text(
        f"import edgesparse, torch\n{MODULE}\nimage = torch.zeros(1, 3, 8, 8)\n{program}"
    )
    run("python program.py", folder)


@pytest.mark.slow(part="zoo")
def test_a_clone_is_set_up_as_it_is_printed(tmp_path):
    run(f"git clone -q {ROOT} clone", tmp_path)
    for command in MAKE:
        said = run(command, tmp_path / "clone")
        assert command.startswith("make setup") or "speed over ONNX Runtime" in said

    assert "edgesparse" in run(". .venv/bin/activate; edgesparse --version", tmp_path / "clone")
