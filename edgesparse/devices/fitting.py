"""Which code a device runs: the targets that are for it, and whether an artifact is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgesparse.devices import targets
from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.isa import in_words

if TYPE_CHECKING:
    from edgesparse.package.reader import Artifact

ALSO = {"aarch64": "armv7"}
"""Kernels of 64 bits run programs of 32 bits: a Raspberry Pi may have such a system around one."""


def suited(facts: DeviceFacts) -> tuple[Target, ...]:
    """The built-in targets whose code a device runs, the best first: those of its own cores, the biggest before others.

    Where it does not tell its features, those are taken that need the fewest.
    """
    known = [targets.load(name) for name in targets.names() if name != targets.HOST]
    same = [target for target in known if target.cpu.isa == facts.isa]
    if facts.features is None:
        least = min((len(target.cpu.requires) for target in same), default=0)
        return tuple(target for target in targets.ranked(same) if len(target.cpu.requires) == least)
    runnable = [target for target in same if not _missing(facts, target.cpu.requires)]
    own = [kind.midr for kind in reversed(facts.cores)]
    rank: dict[int | None, int] = {midr: place for place, midr in reversed([*enumerate(own)]) if midr is not None}
    return tuple(sorted(targets.ranked(runnable), key=lambda target: rank.get(target.cpu.midr, len(own))))


def _missing(facts: DeviceFacts, features: Iterable[str]) -> list[str]:
    return [name for name in features if name not in (facts.features or ())]


def require_fit(facts: DeviceFacts, found: Artifact, device: str, artifact: str) -> None:
    """Check that a device runs one of an artifact's plans, as far as it tells.

    Raises: MeasureError: it does not; the message says what it is, what is missing and what runs there.
    """
    images = [image for program in found.programs for image in program.images]
    isas = {facts.isa, ALSO.get(facts.isa or "")}
    same = [image for image in images if image.isa in isas]
    if not facts.isa or (same and facts.features is None):
        return
    if any(not _missing(facts, image.cpu_features) for image in same):
        return
    whose = f"{device} ({facts.core_names or facts.machine})"
    if same:
        missing = min((_missing(facts, image.cpu_features) for image in same), key=len)
        why = f"needs {in_words(missing)}, which {whose} lacks"
    else:
        why = f"is for {', '.join(sorted({image.isa for image in images}))}, and {whose} is {facts.isa}"
    names = " or ".join(target.name for target in suited(facts))
    remedy = f"compile for {names}" if names else "no built-in target is for that device"
    raise MeasureError(f"{artifact}: {why}; {remedy}")
