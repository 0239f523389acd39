"""Bytes of words as four vectors, and back: rounded to nearest even, limited and narrowed.

Where registers of 128 bits can be shuffled, lanes 4 * i to 4 * i + 3 of vector k hold the bytes of word 4 * i + k (they
are `aligned`); elsewhere, and wherever they are taken `across` words, lane i of vector k holds byte k of word i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.bytes import flipped, join, split
from edgesparse.backends.cpu.kernels.math import hold, int_splat, lanes_of, splat
from edgesparse.backends.cpu.kernels.vectors import pick
from edgesparse.devices.cpu import Cpu
from edgesparse.numerics import QUAD

LEAST_LANES = QUAD
"""Of vectors of words: a register of 128 bits."""

LIMIT = 2.0**30
"""Numbers below it are small: int32 holds them, whatever they are rounded to."""

_X86 = {
    LEAST_LANES: ("llvm.x86.sse2.packssdw.128", "llvm.x86.sse2.packuswb.128"),
    8: ("llvm.x86.avx2.packssdw", "llvm.x86.avx2.packuswb"),
    16: ("llvm.x86.avx512.packssdw.512", "llvm.x86.avx512.packuswb.512"),
}


@dataclass(frozen=True)
class Narrowing:
    """What is stored of a number: clamp(round(x) + zero, low, high), all counted from the lowest byte on.

    Numbers that are all `small` are below LIMIT in size.
    """

    zero: int
    low: int
    high: int
    is_signed: bool
    small: bool = False

    def words(self, values: Sequence[Expr], cpu: Cpu, *, across: bool = False) -> Expr:
        """Words of four vectors of float32 numbers, of which none is NaN."""
        lanes = lanes_of(values[0])
        if not aligned(cpu, lanes):
            found = self._joined(values)
        elif cpu.isa == "x86_64":
            found = self._packed(values, *_X86[lanes])
        else:
            found = self._saturated(values)
        if across and aligned(cpu, lanes):
            found = transposed_quads(found)
        return flipped(found, flip=self.is_signed)

    def _packed(self, values: Sequence[Expr], to_16: str, to_8: str) -> Expr:
        """By packing with saturation; what no int32 holds becomes -2**31, so that the upper end is limited before."""
        lanes = lanes_of(values[0])
        whole = []
        for value in values:
            most = splat(float(self.high - self.zero), value)
            limited = value if self.small else hold(T.Select(value < most, value, most))
            rounded = T.call_llvm_pure_intrin(f"int32x{lanes}", f"llvm.lrint.v{lanes}i32.v{lanes}f32", limited)
            whole.append(hold(rounded))
        halves = [hold(T.call_llvm_pure_intrin(f"int16x{2 * lanes}", to_16, whole[i], whole[i + 1])) for i in (0, 2)]
        if self.zero:
            add = f"llvm.sadd.sat.v{2 * lanes}i16"
            zero = T.broadcast(T.int16(self.zero), 2 * lanes)
            halves = [hold(T.call_llvm_pure_intrin(f"int16x{2 * lanes}", add, half, zero)) for half in halves]
        found = hold(T.call_llvm_pure_intrin(f"uint8x{4 * lanes}", to_8, *halves))
        return T.reinterpret(f"int32x{lanes}", self._lowered(self._raised(found)))

    def _saturated(self, values: Sequence[Expr]) -> Expr:
        """By the conversions of NEON, which saturate."""
        halves = []
        for first in (0, 2):
            pair = []
            for value in values[first : first + 2]:
                whole = T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", value)
                pair.append(hold(T.call_llvm_pure_intrin("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", whole)))
            half = pick(pair, range(8))
            zero = T.broadcast(T.int16(self.zero), 8)
            added = T.call_llvm_pure_intrin("int16x8", "llvm.sadd.sat.v8i16", half, zero) if self.zero else half
            halves.append(hold(T.call_llvm_pure_intrin("uint8x8", "llvm.aarch64.neon.sqxtun.v8i8", added)))
        found = self._lowered(self._raised(pick(halves, range(16))))
        return T.reinterpret("int32x4", found)

    def _joined(self, values: Sequence[Expr]) -> Expr:
        """By shifts, on any machine."""
        above = []
        for value in values:
            inside = math.clamp(value, float(self.low - self.zero), float(self.high - self.zero))
            above.append(hold(math.nearest(hold(inside)) + int_splat(self.zero, value)))
        return join(above)

    def _raised(self, found: Expr) -> Expr:
        least = T.broadcast(T.uint8(self.low), lanes_of(found))
        return hold(T.max(found, least)) if self.low > 0 else found

    def _lowered(self, found: Expr) -> Expr:
        most = T.broadcast(T.uint8(self.high), lanes_of(found))
        return hold(T.min(found, most)) if self.high < np.iinfo(np.uint8).max else found


def aligned(cpu: Cpu, lanes: int) -> bool:
    """How `widened` and `Narrowing` lay bytes out in four vectors of so many lanes."""
    return lanes in _X86 if cpu.isa == "x86_64" else cpu.isa == "aarch64" and lanes == LEAST_LANES


def transposed_quads(words: Expr) -> Expr:
    """Of each four words the first bytes in the first word, and so on."""
    lanes = lanes_of(words)
    places = [16 * block + 4 * (i % 4) + i // 4 for block in range(lanes // QUAD) for i in range(16)]
    return hold(T.reinterpret(f"int32x{lanes}", pick([T.reinterpret(f"uint8x{QUAD * lanes}", words)], places)))


def widened(words: Expr, cpu: Cpu, *, is_signed: bool, across: bool = False) -> list[Expr]:
    """The bytes of words in four vectors of int32, counted from the lowest byte on."""
    lanes = lanes_of(words)
    if not aligned(cpu, lanes):
        return split(words, flip=is_signed)
    # Bytes with zeros beside them: one shuffle each.
    parts = T.reinterpret(f"uint8x{QUAD * lanes}", flipped(words, flip=is_signed))
    zeros = T.broadcast(T.uint8(0), QUAD * lanes)
    found = []
    for k in range(QUAD):
        places = []
        for block in range(0, QUAD * lanes, QUAD * QUAD):
            for c in range(QUAD):
                byte = QUAD * c + k if across else QUAD * k + c
                places += [block + byte, *[QUAD * lanes + block] * 3]
        found.append(hold(T.reinterpret(f"int32x{lanes}", pick([parts, zeros], places))))
    return found
