"""The data caches of a core, as the kernel lists them; many kernels of Arm boards do not.

Source: Linux, Documentation/ABI/testing/sysfs-devices-system-cpu.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgesparse.tables import bytes_text

_FOLDER = "sys/devices/system/cpu/cpu{}/cache/index{}/"
FILES = tuple(_FOLDER.format("[0-9]*", "[0-9]*") + name for name in ("level", "type", "size"))
"""What is read, below the root."""

MOST = 8
"""Caches of a core that are looked at."""


@dataclass(frozen=True)
class Caches:
    """Sizes in bytes of what a core sees, shared or not; None where the kernel does not tell."""

    l1d_bytes: int | None = None
    l2_bytes: int | None = None
    l3_bytes: int | None = None

    def __str__(self) -> str:
        sizes = zip(("L1", "L2", "L3"), (self.l1d_bytes, self.l2_bytes, self.l3_bytes), strict=True)
        return ", ".join(f"{level} {bytes_text(size)}" for level, size in sizes if size)


UNTOLD = Caches()


def caches(number: int, files: Mapping[str, str]) -> Caches:
    """Those of a core.

    Args:
        number: what the system calls it.
        files: contents of files by their paths below the root.
    """
    found: dict[str, int] = {}
    for index in range(MOST):
        folder = _FOLDER.format(number, index)
        level, kind, size = (files.get(folder + name, "").strip() for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and re.fullmatch(r"[1-9][0-9]{0,8}K", size):
            found.setdefault(level, int(size[:-1]) * 1024)
    return Caches(found.get("1"), found.get("2"), found.get("3"))
