"""What is installed from a clone or from a source distribution works, and has all that a board needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import edgesparse
from edgesparse.errors import PackageError
from runtime import build
from tests.conftest import ROOT

NEEDED = ("edgesparse", "targets", "runtime/build.py", "runtime/include", "runtime/src", "runtime/tools")


def done(*command: object, folder: Path, **environment: str) -> str:
    """What a program prints that succeeds, in a folder outside the checkout."""
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=os.environ | environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def distribution(project: Path, kind: str, folder: Path, **environment: str) -> Path:
    """The source distribution or the wheel of a project, as a folder of its files."""
    done(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, folder=project, **environment)
    (archive,) = (path for path in folder.iterdir() if path.suffix in (".gz", ".whl"))
    if kind == "wheel":
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        return folder
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def test_source_distribution_of_the_compiler_holds_all_sources(tmp_path):
    listed = done("git", "-C", ROOT, "ls-files", *NEEDED, "LICENSE", "hatch_build.py", folder=ROOT).split()

    unpacked = distribution(ROOT, "sdist", tmp_path)

    assert [name for name in listed if not (unpacked / name).is_file()] == []
    assert "License-Expression: Apache-2.0" in (unpacked / "PKG-INFO").read_text()


def test_wheel_of_the_runtime_is_made_from_its_source_distribution_alone(tmp_path):
    source = distribution(build.HERE / "python", "sdist", tmp_path / "source")

    wheel = distribution(source, "wheel", tmp_path / "wheel")

    code = "import edgesparse_runtime as r; print(r.__file__, r.__version__)"
    said = done(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(wheel)).split()
    assert said == [str(wheel / "edgesparse_runtime" / "__init__.py"), edgesparse.__version__]
    assert (wheel / f"edgesparse_runtime-{edgesparse.__version__}.dist-info" / "licenses" / "LICENSE").is_file()


def test_runtime_command_makes_what_a_board_needs(command, tmp_path):
    listed = command("runtime", "--target", "rpi4", "-o", str(tmp_path / "out"))

    assert listed.returncode == 0, listed.stderr
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    wheel = f"edgesparse_runtime-{edgesparse.__version__}-py3-none-manylinux2014_aarch64.whl"
    libraries = {"libedgesparse.so", "libedgesparse.a"}
    assert set(files) == {"LICENSE", "LICENSE.musl", "edgesparse.h", "esrun", wheel} | libraries
    assert all(name in listed.stdout for name in files)
    for name in ("esrun", "libedgesparse.so"):
        with files[name].open("rb") as file:
            assert ELFFile(file).get_machine_arch() == "AArch64"
    assert os.access(files["esrun"], os.X_OK)


def test_runtime_command_leaves_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(PackageError, match=rf"^{re.escape(str(tmp_path))}: holds something, expected a new"):
        edgesparse.runtime("host", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_runtime_command_says_where_it_cannot_write(tmp_path):
    with pytest.raises(PackageError, match="/missing/out: cannot be written: No such file or directory"):
        edgesparse.runtime("host", tmp_path / "missing" / "out")
