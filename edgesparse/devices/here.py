"""What runs an artifact here: this machine where it can, else an emulated board."""

from __future__ import annotations

from pathlib import Path

from edgesparse.devices import targets
from edgesparse.devices.emulated import Emulated
from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device
from edgesparse.errors import MeasureError
from edgesparse.package.manifest import of_plan
from edgesparse.package.reader import read


def device_of(artifact: Path | str) -> Device:
    """The device that an artifact runs on; of boards that can be emulated, the one of its first plan.

    Raises:
        MeasureError: this CPU does not run it, and no emulator is installed.
        TargetError: what it was compiled for is not known.
    """
    why = LOCAL.refuses(artifact)
    if not why:
        return LOCAL
    found = read(Path(artifact))
    records = [of_plan(found.manifest, number) for number in range(len(found.programs))]
    boards = [Emulated(targets.of_facts(each.get("target_facts"), f"{artifact}: target_facts")) for each in records]
    for board in boards:
        if board.is_there():
            return board
    remedy = f"run it on the device, or install qemu-user, whose {boards[0].emulator} runs it here"
    raise MeasureError(f"{artifact}: {why}; remedy: {remedy}")
