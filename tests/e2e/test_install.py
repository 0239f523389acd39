"""What is installed from a clone or from a source distribution works, and has all that a board needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import edgesparse
from edgesparse.devices import programs
from edgesparse.errors import PackageError
from runtime import build
from tests.cli.models import classifier
from tests.conftest import ROOT
from tests.models import assert_close, ort_run

NEEDED = ("edgesparse", "targets", "hatch_build.py", "LICENSE", "README.md", "runtime/build.py")
NEEDED += ("runtime/include", "runtime/src", "runtime/tools", "runtime/python")
RUN = """
import sys, numpy, edgesparse_runtime
with edgesparse_runtime.Model(sys.argv[1]) as model:
    numpy.save(sys.argv[3], *model.run(numpy.load(sys.argv[2])).values())
"""


def done(*command: object, folder: Path, **environment: str) -> str:
    """What a program prints that succeeds, in a folder outside the checkout."""
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=os.environ | environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def distribution(project: Path, kind: str, folder: Path) -> Path:
    """The source distribution or the wheel of a project, as a folder of its files."""
    done(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, folder=project)
    (archive,) = (path for path in folder.iterdir() if path.suffix in (".gz", ".whl"))
    if kind == "wheel":
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        return folder
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def environment(folder: Path) -> Path:
    """The interpreter of a new virtual environment."""
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


def judged_model(folder: Path) -> tuple[Path, Path, np.ndarray]:
    """A model, an input in a file, and what ONNX Runtime makes of it."""
    model = classifier(folder / "model.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
    np.save(folder / "x.npy", x)
    (expected,) = ort_run(model, {"image": x})
    return model, folder / "x.npy", expected


def test_source_distribution_of_the_compiler_holds_all_sources(tmp_path):
    listed = done("git", "-C", ROOT, "ls-files", *NEEDED, folder=ROOT).split()

    unpacked = distribution(ROOT, "sdist", tmp_path)

    assert [name for name in listed if not (unpacked / name).is_file()] == []
    assert "License-Expression: Apache-2.0" in (unpacked / "PKG-INFO").read_text()


def test_wheel_of_the_runtime_is_made_from_its_source_distribution_alone(tmp_path):
    source = distribution(build.HERE / "python", "sdist", tmp_path / "source")

    wheel = distribution(source, "wheel", tmp_path / "wheel")

    code = "import edgesparse_runtime as r; print(r.__file__, r.__version__)"
    said = done(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(wheel)).split()
    assert said == [str(wheel / "edgesparse_runtime" / "__init__.py"), edgesparse.__version__]
    licence = wheel / f"edgesparse_runtime-{edgesparse.__version__}.dist-info" / "licenses" / "LICENSE"
    assert licence.read_text() == (ROOT / "LICENSE").read_text()


def test_runtime_command_makes_what_a_board_needs(command, tmp_path):
    listed = command("runtime", "--target", "rpi4", "-o", str(tmp_path / "out"))

    assert listed.returncode == 0, listed.stderr
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    wheel = f"edgesparse_runtime-{edgesparse.__version__}-py3-none-manylinux2014_aarch64.whl"
    libraries = {"libedgesparse.so", "libedgesparse_profile.so", "libedgesparse.a"}
    assert set(files) == {"LICENSE", "LICENSE.musl", "edgesparse.h", "edgesparse_profile.h", "esrun", wheel} | libraries
    assert all(name in listed.stdout for name in files)
    for name in ("esrun", "libedgesparse.so"):
        with files[name].open("rb") as file:
            assert ELFFile(file).get_machine_arch() == "AArch64"
    assert os.access(files["esrun"], os.X_OK)


def test_runtime_command_leaves_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(PackageError, match=rf"^{re.escape(str(tmp_path))}: is not empty, expected a new"):
        edgesparse.runtime("host", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_runtime_command_says_where_it_cannot_write(tmp_path):
    with pytest.raises(PackageError, match="/missing/out: cannot be written: No such file or directory"):
        edgesparse.runtime("host", tmp_path / "missing" / "out")


def test_checkout_that_cannot_build_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "BUILD", tmp_path / "build.py")

    with pytest.raises(PackageError, match="cannot build the runtime for aarch64: .*No such file"):
        edgesparse.runtime("rpi4", tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow(part="zoo")
def test_clone_installs_in_one_line_and_what_it_hands_out_runs_without_it(tmp_path):
    """As for a user whose caches are empty: `pip install git+...`; then the wheel alone in another environment."""
    own = {"HOME": str(tmp_path), "PIP_NO_CACHE_DIR": "1", "ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")}
    model, x, expected = judged_model(tmp_path)
    done("git", "clone", "--quiet", ROOT, "clone", folder=tmp_path)
    python, bare = (environment(tmp_path / name) for name in ("venv", "bare"))
    edgesparse_program = python.with_name("edgesparse")

    done(python, "-m", "pip", "install", f"git+file://{tmp_path}/clone", folder=tmp_path, **own)
    done(edgesparse_program, "compile", model, "-o", "model.esp", folder=tmp_path, **own)
    done(edgesparse_program, "run", "model.esp", "--input", x, "--output", "installed.npy", folder=tmp_path, **own)
    done(edgesparse_program, "runtime", "--target", "host", "-o", "out", folder=tmp_path, **own)
    done("out/esrun", "model.esp", "--input", x, "--output", "esrun.npy", folder=tmp_path)
    done(bare, "-m", "pip", "install", *(tmp_path / "out").glob("*.whl"), folder=tmp_path, **own)
    done(bare, "-c", RUN, "model.esp", x, "bare.npy", folder=tmp_path)

    for name in ("installed", "esrun", "bare"):
        assert_close(np.load(tmp_path / f"{name}.npy"), expected)
    said = done(python, "-c", "import edgesparse; print(edgesparse.__file__)", folder=tmp_path)
    assert said.startswith(str(tmp_path / "venv"))
    assert {path.parent.name for path in python.parents[1].rglob("runtime_data/*/esrun")} == set(build.PLATFORMS)


@pytest.mark.slow(part="zoo")
def test_wheel_of_the_compiler_is_made_from_its_source_distribution_alone(tmp_path):
    source = distribution(ROOT, "sdist", tmp_path / "source")

    wheel = distribution(source, "wheel", tmp_path / "wheel")

    assert {path.parent.name for path in wheel.glob("edgesparse/runtime_data/*/esrun")} == set(build.PLATFORMS)
    code = "import edgesparse_runtime as r; print(r.__file__, r.__version__)"
    said = done(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(wheel)).split()
    assert said == [str(wheel / "edgesparse_runtime" / "__init__.py"), edgesparse.__version__]
