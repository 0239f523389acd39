"""From a model to outputs, as a user goes, with ONNX Runtime as the judge."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgesparse_runtime import Model

import edgesparse
from edgesparse.isa import ISAS
from edgesparse.measure import random_feeds
from runtime import build
from tests.models import INPUT_SHAPES, assert_close, ort_run

STEER = Path(build.__file__).with_name("tests") / "steer.c"
PRUNED = "-pruned"  # at the end of the name of a pruned copy
Arrays = dict[str, np.ndarray]


def prepared(model: Path, folder: Path, sparsity: float | None) -> Path:
    """The model itself, or a copy of it in `folder` with as many zeros in every layer."""
    if sparsity is None:
        return model
    pruned = folder / f"{model.stem}{PRUNED}.onnx"
    edgesparse.prune(model, pruned, sparsity=sparsity, allocation="uniform")
    return pruned


def compiled(model: Path, folder: Path, target: str = "host") -> Path:
    """An artifact of `model` in `folder`."""
    output = folder / f"{model.stem}.{target}.esp"
    input_shapes = INPUT_SHAPES.get(model.stem.removesuffix(PRUNED))
    return edgesparse.compile(model, target, output, input_shapes=input_shapes).artifact


def feeds_of(artifact: Path) -> Arrays:
    """Seeded random inputs; a sampling rate is 16 kHz."""
    manifest = edgesparse.inspect(artifact)
    feeds = random_feeds(manifest.inputs)
    return {name: np.full_like(array, 16000) if name == "sr" else array for name, array in feeds.items()}


def expect_agreement(model: Path, actual: Arrays, feeds: Arrays) -> None:
    """The outputs by name are what ONNX Runtime computes for `model`."""
    names = [value.name for value in onnx.load(model, load_external_data=False).graph.output]
    expected = ort_run(model, feeds)
    assert set(actual) == set(names)
    for name, value in zip(names, expected, strict=True):
        assert_close(actual[name], value)


def check_on_host(model: Path, folder: Path) -> None:
    """Compile for this machine, run with the Python runtime, compare; kernels keep to their operands."""
    artifact = compiled(model, folder)
    steer(artifact, build.host_platform())
    feeds = feeds_of(artifact)

    with Model(artifact) as opened:
        actual = opened.run(feeds)

    expect_agreement(model, actual, feeds)


def emulated(platform: str) -> list[str]:
    """The words before a program for `platform` that make it run here; skips the test if nothing does."""
    if platform == build.host_platform():
        return []
    emulator = shutil.which(ISAS[platform].emulator)
    if emulator is None:
        pytest.skip(f"{ISAS[platform].emulator} is not installed, so {platform} programs cannot run here")
    return [emulator]


def steer(artifact: Path, platform: str, seed: int = 0, turns: int = 0) -> tuple[int, int]:
    """Run the kernels with every operand between pages that nobody may touch: `runtime/tests/steer.c`.

    Returns: how many of `turns` changed files the loader accepted, and refused.
    """
    command = [*emulated(platform), build.guest_program(STEER, platform), artifact, seed, turns]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stderr
    _, accepted, _, refused = done.stdout.split()
    return int(accepted), int(refused)


def esrun(artifact: Path, platform: str, feeds: Arrays, folder: Path, *options: str) -> Arrays:
    """Run an artifact with the static runner for `platform`, under an emulator where needed."""
    command = [*emulated(platform), str(build.esrun(platform)), str(artifact), "--output", str(folder / "out.npz")]
    for index, (name, array) in enumerate(feeds.items()):
        np.save(folder / f"in{index}.npy", array)
        command += ["--input", f"{name}={folder / f'in{index}.npy'}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "out.npz"))
