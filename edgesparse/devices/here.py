"""What runs an artifact: the device that the user names, else this machine where it can, else an emulated board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgesparse.devices import targets
from edgesparse.devices.cooling import degrees
from edgesparse.devices.cores import require_cores
from edgesparse.devices.emulated import Emulated
from edgesparse.devices.local import LOCAL
from edgesparse.devices.remote import Remote, ignored
from edgesparse.devices.session import Device
from edgesparse.devices.targets import Target
from edgesparse.errors import EdgesparseError, MeasureError, TargetError
from edgesparse.package.manifest import of_plan
from edgesparse.package.reader import Artifact, read


def named(
    on: str | None,
    told: Callable[[str, float], None] = ignored,
    *,
    cores: str | None = None,
    cool_down: str | float | None = None,
) -> Device:
    """The device that the user names; this machine where none is named.

    Args: cores, cool_down: as the user gives them: see `device_of`.

    Raises: MeasureError: they cannot be read, or are given without a device.
    """
    require_cores(cores)
    cool_c = degrees(cool_down)
    if on is not None:
        return Remote(on, told, cores, cool_c)
    for name, given in (("cores", cores), ("cool-down", cool_c)):
        if given is not None:
            raise MeasureError(f"{name}: needs a device that is named with on, such as pi@board")
    return LOCAL


def device_of(
    artifact: Path | str,
    on: str | None = None,
    told: Callable[[str, float], None] = ignored,
    *,
    cores: str | None = None,
    cool_down: str | float | None = None,
) -> Device:
    """The device that an artifact runs on: the one named, else this machine, or its first target that can be emulated.

    Args:
        on: what the user calls a device: "pi@board" for ssh, or "adb:SERIAL".
        told: is called with what is copied there, and the share of it that has arrived.
        cores: of the device, to run on: "big", "little", or numbers such as "0-3,5".
        cool_down: how cool the device has to be before it runs anything, such as "45C".

    Raises:
        MeasureError: this CPU does not run it, and nothing emulates one that does; or cores cannot be read.
        TargetError: what it was compiled for is not known.
    """
    device = named(on, told, cores=cores, cool_down=cool_down)
    if on is not None:
        return device
    why = LOCAL.refuses(artifact)
    if not why:
        return LOCAL
    why = why if why.startswith(str(artifact)) else f"{artifact}: {why}"
    found = read(Path(artifact))
    errors: list[EdgesparseError] = []
    for number in range(len(found.programs)):
        try:
            return _board(found, number, Path(artifact))
        except EdgesparseError as err:
            errors.append(err)
    missing = next((err for err in errors if isinstance(err, _NoEmulator)), None)
    if missing:
        raise MeasureError(f"{why}; remedy: {missing}")
    raise next((err for err in errors if not isinstance(err, TargetError)), errors[0])


def require_here(target: Target, instead: str = "") -> None:
    """Check that this machine runs the code of a target: what an emulator takes says nothing.

    Args: instead: what else helps.

    Raises: MeasureError: it does not.
    """
    why = LOCAL.why_not(target.cpu.isa, target.cpu.requires)
    if why:
        remedy = f"remedy: name the device with --on pi@board{instead}"
        raise MeasureError(f"{target.name} cannot be measured here: code is {why}; {remedy}")


class _NoEmulator(MeasureError):
    """What would run a plan is not installed; the message says what helps."""


def _board(found: Artifact, number: int, artifact: Path) -> Emulated:
    """What emulates the target of a plan.

    Raises: EdgesparseError: the target is not known, or nothing emulates it.
    """
    where = f"{artifact}: target_facts"
    target = targets.of_facts(of_plan(found.manifest, number).get("target_facts"), where)
    (image,) = found.programs[number].images
    if target.cpu.isa != image.isa:
        raise TargetError(f"{where}: are of {target.cpu.isa}, the code is for {image.isa}; compile the model again")
    board = Emulated(target, number)
    if not board.is_there():
        raise _NoEmulator(f"run it on the device, or install qemu-user, whose {board.emulator} runs it here")
    if len(found.programs) > 1:  # another one may do where this CPU cannot be emulated in full
        with board.open(artifact):
            pass
    return board
