"""The build backend: setuptools, and zig where the machine cannot compile C for the wanted platform."""

import os
import shutil
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks of PEP 517 and PEP 660)

_Settings = dict[str, Any] | None


def _compilers() -> list[str]:
    has_compiler = "CC" in os.environ or shutil.which("cc") is not None
    return [] if has_compiler and "EDGESPARSE_WHEEL_PLATFORM" not in os.environ else ["ziglang>=0.13"]


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """What must be installed before a wheel is built."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compilers()]


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    """What must be installed before the package is installed in place."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compilers()]
