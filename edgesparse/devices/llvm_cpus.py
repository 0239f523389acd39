"""What LLVM calls the core of an Arm CPU, by its number; or one like it, where its own name would let LLVM use more.

An artifact states what it needs among the features of `isa.py`. A name that implies others, such as SVE, would give
code that a CPU or a kernel without them cannot run, and that nothing refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgesparse.devices.parts import ARM, QUALCOMM, is_in_order

_BEFORE_DOTPROD: Mapping[tuple[int, int], str] = {
    (ARM, 0xD03): "cortex-a53",
    (ARM, 0xD04): "cortex-a35",
    (ARM, 0xD07): "cortex-a57",
    (ARM, 0xD08): "cortex-a72",
    (ARM, 0xD09): "cortex-a73",
    (QUALCOMM, 0x800): "cortex-a73",
    (QUALCOMM, 0x801): "cortex-a53",
}

_WITH_DOTPROD: Mapping[tuple[int, int], str] = {
    (ARM, 0xD05): "cortex-a55",
    (ARM, 0xD0A): "cortex-a75",
    (ARM, 0xD0B): "cortex-a76",
    (ARM, 0xD0C): "neoverse-n1",
    (ARM, 0xD0D): "cortex-a77",
    (ARM, 0xD0E): "cortex-a76ae",
    (ARM, 0xD41): "cortex-a78",
    (ARM, 0xD42): "cortex-a78",
    (ARM, 0xD44): "cortex-x1",
    (ARM, 0xD4B): "cortex-a78c",
    (ARM, 0xD4C): "cortex-x1c",
    (QUALCOMM, 0x802): "cortex-a75",
    (QUALCOMM, 0x803): "cortex-a55",
    (QUALCOMM, 0x804): "cortex-a76",
    (QUALCOMM, 0x805): "cortex-a55",
}
"""Their names imply dot products and half precision."""

_WITH_SVE = range(0xD40, 0xE00)
"""Parts of Arm's among which those are that are in neither list."""

_ARMV7: Mapping[tuple[int, int], str] = {
    (ARM, 0xC05): "cortex-a5",
    (ARM, 0xC07): "cortex-a7",
    (ARM, 0xC0D): "cortex-a12",
    (ARM, 0xC0E): "cortex-a17",
    (ARM, 0xC0F): "cortex-a15",
}


def llvm_cpu(isa: str, midr: int | None, requires: Iterable[str]) -> str | None:
    """The name for LLVM of a core; None where nothing is known that would be better than "generic".

    Args:
        midr: implementer and part.
        requires: the features that artifacts for it state.
    """
    if midr is None:
        return None
    core = implementer, part = midr >> 24, midr >> 4 & 0xFFF
    if isa == "armv7":
        in_place = "cortex-a7" if is_in_order(midr) else "cortex-a15"
        return _ARMV7.get(core) or (in_place if implementer == ARM and part >= 0xD00 else None)
    if isa != "aarch64":
        return None
    if core in _BEFORE_DOTPROD or not {"dotprod", "fp16"}.issubset(requires):
        return _BEFORE_DOTPROD.get(core)
    in_place = "cortex-a55" if is_in_order(midr) else "cortex-a78"
    return _WITH_DOTPROD.get(core) or (in_place if implementer == ARM and part in _WITH_SVE else None)
