"""A CPU: what the compiler knows of it. The fields are the keys of its tables in a target's file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgesparse.devices import schema
from edgesparse.devices.schema import at
from edgesparse.errors import TargetError
from edgesparse.isa import ISAS
from edgesparse.numerics import HALF, I32, PLAIN, QUAD_I8, QUAD_U8, Element, Numerics

CORE = "core"
"""The table of `Core`."""

DOTTED = {"avx512vnni": QUAD_U8, "avxvnni": QUAD_U8, "dotprod": QUAD_I8}
"""Activations of dot products, by the feature that brings them: vpdpbusd takes unsigned ones, sdot signed ones."""

HALF_FEATURE = "fp16"

MIDR_BITS = 0xFF00_FFF0
"""Of MIDR_EL1: implementer and part."""


@dataclass(frozen=True)
class Core:
    """What a model of a core's ports needs; each port or pipe starts one operation a cycle."""

    issue_width: int  # operations a cycle
    load_ports: int
    pair_loads: int  # loads that a load of two registers of at most 64 bits counts for
    store_bits: int  # stored in a cycle
    vector_pipes: int
    fma_pipes: int  # vector pipes that a 128-bit multiply-add takes
    fma_latency_cycles: int  # from an accumulator to itself
    mispredict_cycles: int
    l2_latency_cycles: int
    misses_in_flight: int  # misses of L1 that overlap
    l1d_ways: int
    l2_ways: int
    load_pipes: int = 0  # vector pipes that a 128-bit load takes, a narrower one half of that


@dataclass(frozen=True)
class Cpu:
    """Facts about a CPU; sizes in bytes, vectors in bits. None where a fact is not known."""

    isa: str = field(metadata=at("codegen"))  # "x86_64", "aarch64" or "armv7"
    triple: str = field(metadata=at("codegen"))  # LLVM triple of the device code
    llvm_name: str = field(metadata=at("codegen", "cpu"))  # LLVM -mcpu
    features: tuple[str, ...] = field(metadata=at("codegen"))  # LLVM -mattr, such as ("+neon",)
    requires: tuple[str, ...] = field(metadata=at("codegen"))  # what the runtime checks, such as ("avx2", "fma")
    vector_bits: int = field(metadata=at("simd", least=64, most=1024))
    registers: int = field(metadata=at("simd", least=16, most=128))  # vector registers
    l1d_bytes: int = field(metadata=at("memory", least=1 << 12, most=1 << 30))
    l2_bytes: int = field(metadata=at("memory", least=1 << 12, most=1 << 40))
    cores: int = field(metadata=at("cpu", most=1024))
    l3_bytes: int | None = field(default=None, metadata=at("memory", least=1 << 12, most=1 << 40))
    bandwidth_bytes_per_s: int | None = field(default=None, metadata=at("memory"))  # of the main memory, all cores
    core_bandwidth_bytes_per_s: int | None = field(default=None, metadata=at("memory"))  # the same, one core
    clock_hz: int | None = field(default=None, metadata=at("cpu"))
    midr: int | None = field(default=None, metadata=at("cpu", most=MIDR_BITS))  # MIDR_EL1 & MIDR_BITS of its cores
    core: Core | None = None

    def lanes(self, element: Element) -> int:
        """Elements in a vector register."""
        return self.vector_bits // element.bits

    @property
    def dotted(self) -> Element | None:
        """What the dot products of the CPU take for activations, four at a time; None where it has none."""
        return next((DOTTED[feature] for feature in self.requires if feature in DOTTED), None)

    @property
    def has_half(self) -> bool:
        """Its vectors compute with float16."""
        return HALF_FEATURE in self.requires

    @property
    def numerics(self) -> tuple[Numerics, ...]:
        """What kernels of weighted layers compute with: floats, and words of bytes where dot products take them."""
        dots = () if self.dotted is None else (Numerics(self.dotted, QUAD_I8, I32, self.dotted),)
        return (PLAIN, *dots, *((HALF,) if self.has_half else ()))


TABLES = (*schema.tables(Cpu), CORE)
"""The tables of a CPU in a target's file."""


def read(file: Mapping[str, Any], where: str) -> Cpu:
    """The CPU that a target's file describes.

    Raises: TargetError: the file breaks the schema.
    """
    cpu = Cpu(**schema.read(Cpu, file, where))
    _check(cpu, where)
    core = Core(**schema.read(Core, file, where, table=CORE)) if CORE in file else None
    return replace(cpu, features=tuple(f if f[0] in "+-" else f"+{f}" for f in cpu.features), core=core)


def write(cpu: Cpu) -> dict[str, Any]:
    """The tables of a target's file that describe a CPU."""
    return schema.write(cpu) | (schema.write(cpu.core, CORE) if cpu.core is not None else {})


def _check(cpu: Cpu, where: str) -> None:
    if cpu.isa not in ISAS:
        raise TargetError(f"{where}: codegen.isa: got {cpu.isa!r}, expected one of {', '.join(ISAS)}")
    isa = ISAS[cpu.isa]
    if not re.fullmatch(rf"({'|'.join(isa.architectures)})(-\w+)?-linux(-\w+)?", cpu.triple, re.ASCII):
        expected = f"{isa.architectures[0]}-linux-gnu or another of {cpu.isa} and Linux"
        raise TargetError(f"{where}: codegen.triple: got {cpu.triple!r}, expected {expected}")
    for feature in cpu.requires:
        if feature not in isa.bits:
            listed = ", ".join(sorted(isa.bits))
            raise TargetError(f"{where}: codegen.requires: got {feature!r}, expected names among {listed}")
    if cpu.vector_bits.bit_count() != 1:
        raise TargetError(f"{where}: simd.vector_bits: got {cpu.vector_bits}, expected a power of two, such as 128")
    if cpu.l2_bytes < cpu.l1d_bytes:
        raise TargetError(f"{where}: memory.l2_bytes: got {cpu.l2_bytes}, expected at least l1d_bytes, {cpu.l1d_bytes}")
    if cpu.midr is not None and cpu.midr & ~MIDR_BITS:
        expected = f"{cpu.midr & MIDR_BITS:#x}, without variant, architecture and revision"
        raise TargetError(f"{where}: cpu.midr: got {cpu.midr:#x}, expected {expected}")
