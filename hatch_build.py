"""Puts the runtime into the wheel: libraries for this machine, and all that a board needs, for every platform."""

import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


class Runtime(BuildHookInterface[Any]):
    """Compiles the C runtime with zig."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for every platform; an editable install, which is one checkout's, for this machine alone."""
        sys.path.insert(0, str(ROOT))
        from runtime import build

        if version == "editable":
            for library in (build.shared_library(build.host_platform()), build.profiler(build.host_platform())):
                shutil.copy(library, ROOT / "runtime/python/edgesparse_runtime" / library.name)
            return
        for platform in build.PLATFORMS:
            board = build.board(platform)
            build_data["force_include"] |= {
                str(board): f"edgesparse/runtime_data/{platform}",
                str(board / "libedgesparse.so"): f"edgesparse_runtime/libedgesparse-{platform}.so",
                str(board / "libedgesparse_profile.so"): f"edgesparse_runtime/libedgesparse_profile-{platform}.so",
            }
