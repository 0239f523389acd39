"""What runs an artifact here: this machine where it can, else an emulated board."""

from __future__ import annotations

from pathlib import Path

from edgesparse.devices import targets
from edgesparse.devices.emulated import Emulated
from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device
from edgesparse.errors import MeasureError
from edgesparse.package.reader import read


def device_of(artifact: Path | str) -> Device:
    """The device that an artifact runs on.

    Raises:
        MeasureError: this CPU does not run it, and no emulator is installed.
        TargetError: what it was compiled for is not known.
    """
    why = LOCAL.refuses(artifact)
    if not why:
        return LOCAL
    facts = read(Path(artifact)).manifest.get("target_facts")
    emulated = Emulated(targets.of_facts(facts, f"{artifact}: target_facts"))
    if not emulated.is_there():
        remedy = f"run it on the device, or install qemu-user, whose {emulated.emulator} runs it here"
        raise MeasureError(f"{artifact}: {why}; remedy: {remedy}")
    return emulated
