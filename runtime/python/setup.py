"""Compile the C runtime into the package: with zig if it is installed, else with the system's C compiler."""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PLATFORM = os.environ.get("EDGESPARSE_WHEEL_PLATFORM")  # a platform of runtime/build.py; unset: this machine's


def runtime_build() -> ModuleType:
    """The module runtime/build.py."""
    spec = importlib.util.spec_from_file_location("edgesparse_runtime_build", HERE.parent / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def compile_library(output: Path) -> None:
    """Compile the shared library for the chosen platform to `output`."""
    build = runtime_build()
    if PLATFORM or importlib.util.find_spec("ziglang"):
        output.write_bytes(build.shared_library(PLATFORM or build.host_platform()).read_bytes())
        return
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-std=c11", *build.LEAN, *build.INCLUDE, "-shared", "-fPIC", "-pthread", "-s"]
    subprocess.run([*command, "-o", str(output), *map(str, build.SOURCES)], check=True)


class BuildPy(build_py):
    """Adds the shared library to the Python files."""

    def run(self) -> None:
        """Collect, then compile: a wheel for another machine must not touch the source tree."""
        super().run()
        root = HERE if self.editable_mode else Path(self.build_lib)
        compile_library(root / "edgesparse_runtime" / "libedgesparse.so")


class BdistWheel(bdist_wheel):
    """Names the platform, but no Python version: the library knows nothing of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tags of the wheel's file name."""
        host_tag = super().get_tag()[2]
        return "py3", "none", runtime_build().PLATFORMS[PLATFORM].wheel_tag if PLATFORM else host_tag


class BinaryDistribution(Distribution):
    """A distribution that differs between platforms."""

    def has_ext_modules(self) -> bool:
        """Whether it holds machine code."""
        return True


setup(cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel}, distclass=BinaryDistribution)
