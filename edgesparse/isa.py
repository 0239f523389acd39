"""Instruction sets that artifacts hold code for. A row describes each of them; `format.h` mirrors the numbers.

Features are those that the runtime asks the CPU for. To add an instruction set: a row, the same numbers in
`runtime/src/format.h`, how `runtime/src/cpu.c` detects its features, and a target that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """Something a CPU may have: its name, its bit in artifacts, and what /proc/cpuinfo and people call it."""

    name: str
    bit: int
    flag: str
    words: str = ""


@dataclass(frozen=True)
class Isa:
    """An instruction set; triples begin with the name of one of `architectures`."""

    name: str
    number: int  # in artifacts
    architectures: tuple[str, ...]  # as triples say it
    static_triple: str  # of programs that need nothing of a system, for zig
    machines: tuple[str, ...]  # as `uname -m` says it
    code_align: int  # bytes that every kernel's place in the code is a multiple of
    emulator: str  # of qemu-user
    features: tuple[Feature, ...]

    @property
    def bits(self) -> dict[str, int]:
        """Bits in artifacts by the names of features."""
        return {feature.name: feature.bit for feature in self.features}


_ROWS = (
    Isa(
        name="x86_64",
        number=1,
        architectures=("x86_64",),
        static_triple="x86_64-linux-musl",
        machines=("x86_64", "amd64"),
        code_align=1,
        emulator="qemu-x86_64",
        features=(
            Feature("avx2", 0, "avx2"),
            Feature("fma", 1, "fma"),
            Feature("f16c", 2, "f16c"),
            Feature("avx512f", 3, "avx512f"),
            Feature("avx512bw", 4, "avx512bw"),
            Feature("avx512dq", 5, "avx512dq"),
            Feature("avx512vl", 6, "avx512vl"),
            Feature("avx512vnni", 7, "avx512_vnni"),
            Feature("avxvnni", 8, "avx_vnni"),
        ),
    ),
    Isa(
        name="aarch64",
        number=2,
        architectures=("aarch64", "arm64"),
        static_triple="aarch64-linux-musl",
        machines=("aarch64", "arm64"),
        code_align=4,
        emulator="qemu-aarch64",
        features=(
            Feature("neon", 32, "asimd"),
            Feature("dotprod", 33, "asimddp", "dot products"),
            Feature("fp16", 34, "asimdhp", "half precision"),
        ),
    ),
    Isa(
        name="armv7",
        number=3,
        architectures=("armv7", "arm"),
        static_triple="arm-linux-musleabihf",
        machines=("armv7l",),
        code_align=4,
        emulator="qemu-arm",
        features=(Feature("neon", 32, "neon"), Feature("vfp4", 35, "vfpv4")),
    ),
)
ISAS: Mapping[str, Isa] = {row.name: row for row in _ROWS}
"""By name."""

FEATURE_BITS: Mapping[str, int] = {name: bit for row in _ROWS for name, bit in row.bits.items()}
"""Bits in artifacts by the names of features, of all instruction sets: one name is one bit."""


def in_words(features: Iterable[str]) -> str:
    """Features as people call them."""
    words = {feature.name: feature.words for row in _ROWS for feature in row.features if feature.words}
    return " and ".join(words.get(name, name) for name in features)
