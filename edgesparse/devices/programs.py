"""The runtime's programs and libraries for every platform: ready made in an installed package, else built here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from edgesparse.errors import PackageError

INSTALLED = Path(__file__).parents[1] / "runtime_data"
"""A folder a platform, in an installed package; a checkout builds what is asked for."""

BUILD = Path(__file__).parents[2] / "runtime" / "build.py"


def esrun(platform: str) -> Path:
    """The static program that runs artifacts there.

    Raises: PackageError: it cannot be built.
    """
    if INSTALLED.is_dir():
        return INSTALLED / platform / "esrun"
    return Path(_built("esrun", platform))


def board(platform: str, folder: Path) -> Path:
    """Put all that a board needs into a new folder.

    Raises: PackageError: it cannot be built.
    """
    if INSTALLED.is_dir():
        return Path(shutil.copytree(INSTALLED / platform, folder))
    _built("board", platform, "--output", str(folder))
    return folder


def _built(what: str, platform: str, *options: str) -> str:
    command = [sys.executable, str(BUILD), what, "--platform", platform, *options]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise PackageError(f"{BUILD}: cannot build the runtime for {platform}: {built.stderr.strip()}")
    return built.stdout.strip()
