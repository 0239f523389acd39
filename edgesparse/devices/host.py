"""What this machine says about its own CPU, read from /proc and /sys."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgesparse.isa import ISAS


@dataclass(frozen=True)
class Host:
    """The CPU of this machine; None where the system does not tell."""

    isa: str
    model: str
    features: frozenset[str]
    cores: int
    l1d_bytes: int | None
    l2_bytes: int | None

    def why_not(self, isa: str, features: Iterable[str]) -> str:
        """Why this machine cannot run code for an instruction set with some features; empty where it can."""
        if isa != self.isa:
            return f"built for {isa}, this machine is {self.isa}"
        missing = [feature for feature in features if feature not in self.features]
        return f"built for {', '.join(missing)}, which this machine lacks" if missing else ""


def detect(root: Path = Path("/"), machine: str | None = None) -> Host:
    """Describe this machine's CPU.

    Args:
        root: directory that holds `proc` and `sys`.
        machine: what `uname -m` prints; asked of the system by default.
    """
    machine = machine or platform.machine().lower()
    row = next((row for row in ISAS.values() if machine in row.machines), None)
    isa = machine if row is None else row.name
    cpuinfo = _read(root / "proc/cpuinfo")
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    known = {} if row is None else {feature.flag: feature.name for feature in row.features}
    return Host(
        isa=isa,
        model=model.group(1).strip() if model else f"unnamed {machine} CPU",
        features=frozenset(known[flag] for flag in (listed.group(1).split() if listed else ()) if flag in known),
        cores=_available_cores(),
        l1d_bytes=_cache_bytes(root, level=1),
        l2_bytes=_cache_bytes(root, level=2),
    )


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache_bytes(root: Path, *, level: int) -> int | None:
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = _read(index / "type").strip()
        size = re.fullmatch(r"(\d+)K", _read(index / "size").strip())
        if _read(index / "level").strip() == str(level) and kind in ("Data", "Unified") and size:
            return int(size.group(1)) * 1024
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
