"""What a result has to say about the machine and the moment."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from dataclasses import dataclass

from edgesparse.devices.host import detect

PACKAGES = ("edgesparse", "apache-tvm", "onnxruntime")


@dataclass(frozen=True)
class Machine:
    """Where and when something was measured; `load` is the one-minute load average before it began."""

    cpu: str
    features: tuple[str, ...]
    cores: int
    l1d_bytes: int | None
    l2_bytes: int | None
    system: str
    date: str
    load: float
    versions: dict[str, str]


def describe() -> Machine:
    """Describe this machine now."""
    host = detect()
    return Machine(
        cpu=host.model,
        features=tuple(sorted(host.features)),
        cores=host.cores,
        l1d_bytes=host.l1d_bytes,
        l2_bytes=host.l2_bytes,
        system=f"{platform.system()} {platform.machine()}",
        date=datetime.date.today().isoformat(),
        load=round(os.getloadavg()[0], 2),
        versions={name: _version(name) for name in PACKAGES},
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
