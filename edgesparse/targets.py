"""Targets: what the compiler knows of a device, read from `targets/*.toml`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Facts about one device; sizes in bytes, vectors in bits."""

    name: str
    source: str  # where the facts come from
    isa: str  # "x86_64", "aarch64" or "armv7"
    triple: str  # LLVM triple of the device code
    cpu: str  # LLVM -mcpu name
    features: tuple[str, ...]  # LLVM -mattr, such as ("+neon",)
    requires: tuple[str, ...]  # CPU features that the runtime checks, such as ("avx2", "fma")
    vector_bits: int
    registers: int  # vector registers
    l1d_bytes: int
    l2_bytes: int
    cores: int

    @property
    def lanes(self) -> int:
        """float32 elements in a vector register."""
        return self.vector_bits // 32
