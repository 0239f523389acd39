"""Names of Arm's cores, and of those that others made of its architecture, by what MIDR_EL1 says of them.

Source: Arm's technical reference manuals; Linux, arch/arm64/include/asm/cputype.h.
"""

from __future__ import annotations

from collections.abc import Mapping

ARM, NVIDIA, QUALCOMM, APPLE = 0x41, 0x4E, 0x51, 0x61

IN_ORDER: Mapping[tuple[int, int], str] = {
    (ARM, 0xC05): "Cortex-A5",
    (ARM, 0xC07): "Cortex-A7",
    (ARM, 0xC08): "Cortex-A8",
    (ARM, 0xD01): "Cortex-A32",
    (ARM, 0xD03): "Cortex-A53",
    (ARM, 0xD04): "Cortex-A35",
    (ARM, 0xD05): "Cortex-A55",
    (ARM, 0xD46): "Cortex-A510",
    (ARM, 0xD80): "Cortex-A520",
    (QUALCOMM, 0x801): "Kryo 2xx Silver",
    (QUALCOMM, 0x803): "Kryo 3xx Silver",
    (QUALCOMM, 0x805): "Kryo 4xx Silver",
}
"""Cores that start instructions in their order: the little ones, where there are others."""

OUT_OF_ORDER: Mapping[tuple[int, int], str] = {
    (ARM, 0xC09): "Cortex-A9",
    (ARM, 0xC0D): "Cortex-A12",
    (ARM, 0xC0E): "Cortex-A17",
    (ARM, 0xC0F): "Cortex-A15",
    (ARM, 0xD07): "Cortex-A57",
    (ARM, 0xD08): "Cortex-A72",
    (ARM, 0xD09): "Cortex-A73",
    (ARM, 0xD0A): "Cortex-A75",
    (ARM, 0xD0B): "Cortex-A76",
    (ARM, 0xD0C): "Neoverse-N1",
    (ARM, 0xD0D): "Cortex-A77",
    (ARM, 0xD0E): "Cortex-A76AE",
    (ARM, 0xD40): "Neoverse-V1",
    (ARM, 0xD41): "Cortex-A78",
    (ARM, 0xD42): "Cortex-A78AE",
    (ARM, 0xD44): "Cortex-X1",
    (ARM, 0xD47): "Cortex-A710",
    (ARM, 0xD48): "Cortex-X2",
    (ARM, 0xD49): "Neoverse-N2",
    (ARM, 0xD4B): "Cortex-A78C",
    (ARM, 0xD4C): "Cortex-X1C",
    (ARM, 0xD4D): "Cortex-A715",
    (ARM, 0xD4E): "Cortex-X3",
    (ARM, 0xD4F): "Neoverse-V2",
    (ARM, 0xD81): "Cortex-A720",
    (ARM, 0xD82): "Cortex-X4",
    (ARM, 0xD85): "Cortex-X925",
    (ARM, 0xD87): "Cortex-A725",
    (NVIDIA, 0x003): "Denver 2",
    (NVIDIA, 0x004): "Carmel",
    (QUALCOMM, 0x800): "Kryo 2xx Gold",
    (QUALCOMM, 0x802): "Kryo 3xx Gold",
    (QUALCOMM, 0x804): "Kryo 4xx Gold",
    (APPLE, 0x022): "Icestorm",
    (APPLE, 0x023): "Firestorm",
}


def core_name(implementer: int, part: int) -> str:
    """What a core is called; its numbers where nobody here knows it."""
    key = implementer, part
    return IN_ORDER.get(key) or OUT_OF_ORDER.get(key) or f"core {implementer:#x}/{part:#x}"


def is_in_order(midr: int | None) -> bool:
    """Whether it is one of the small cores."""
    return midr is not None and (midr >> 24, midr >> 4 & 0xFFF) in IN_ORDER
