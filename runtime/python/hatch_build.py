"""Puts the C library into the package."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

HERE = Path(__file__).resolve().parent
CHECKOUT = next(folder for folder in (HERE, HERE.parents[1]) if (folder / "runtime/build.py").exists())
PLATFORM = os.environ.get("EDGESPARSE_WHEEL_PLATFORM")  # a platform of runtime/build.py; unset: this machine's


class Library(BuildHookInterface[Any]):
    """Compiles with zig, or with the system's C compiler where the wheel is for this machine and it has one."""

    def dependencies(self) -> list[str]:
        """What must be installed before."""
        has_compiler = "CC" in os.environ or shutil.which("cc") is not None
        return [] if has_compiler and not PLATFORM else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the platform, but no Python version: the library knows nothing of Python."""
        sys.path.insert(0, str(CHECKOUT))
        from runtime import build

        if PLATFORM or importlib.util.find_spec("ziglang"):
            platform = PLATFORM or build.host_platform()
            libraries = build.shared_library(platform), build.profiler(platform)
            tag = build.PLATFORMS[platform].wheel_tag
        else:
            libraries, tag = build.system_libraries(), next(tag for tag in platform_tags() if tag.startswith("linux"))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"
        build_data["force_include"] |= {str(file): f"edgesparse_runtime/{file.name}" for file in libraries}
