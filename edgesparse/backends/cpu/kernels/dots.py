"""The multiply-add of weighted layers: of plain elements as it is written, of quads the dot product of the CPU.

What a CPU has no instruction for is computed by a twin of the same meaning in plain TIR, which runs on every machine.
"""

from __future__ import annotations

from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernels.math import converted, int_splat, lanes_of
from edgesparse.devices.cpu import Cpu
from edgesparse.numerics import QUAD, QUAD_U8, Element, Numerics

BYTE_BITS = 8
_INSTRUCTIONS = {
    "x86_64": {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8, 16)},
    "aarch64": {2: "llvm.aarch64.neon.sdot.v2i32.v8i8", 4: "llvm.aarch64.neon.sdot.v4i32.v16i8"},
}
"""By instruction set and lanes; LLVM calls those of AVX-VNNI by the names of AVX-512."""


def least_lanes(numerics: Numerics) -> int:
    """Lanes of the narrowest vector that is worth multiplying: one of plain elements, of quads 128 bits."""
    return 4 if numerics.is_dotted else 1


def multiply_add(numerics: Numerics, cpu: Cpu, acc: Expr, w: Expr, x: Expr, *, x_first: bool = False) -> Expr:
    """acc + w * x, for vectors or scalars; of quads acc + the sum of the products of their bytes.

    Plain elements are multiplied as x * w with `x_first`: the same number, but LLVM makes other code of it.
    """
    if not numerics.is_dotted:
        w, x = (converted(each, numerics.acc.name) for each in (w, x))
        return acc + (x * w if x_first else w * x)
    lanes = lanes_of(acc)
    instruction = _INSTRUCTIONS.get(cpu.isa, {}).get(lanes)
    if cpu.dotted != numerics.x or instruction is None:
        return _twin(numerics, acc, w, x)
    bytes_of_x = T.reinterpret(f"{_byte(numerics.x)}x{QUAD * lanes}", x)
    bytes_of_w = T.reinterpret(f"{_byte(numerics.w)}x{QUAD * lanes}", w)
    return T.call_llvm_pure_intrin(f"int32x{lanes}", instruction, acc, bytes_of_x, bytes_of_w)


def _byte(quad: Element) -> str:
    return "uint8" if quad == QUAD_U8 else "int8"


def _twin(numerics: Numerics, acc: Expr, w: Expr, x: Expr) -> Expr:
    for place in range(QUAD):
        acc = acc + _unpacked(numerics.w, w, place) * _unpacked(numerics.x, x, place)
    return acc


def _unpacked(quad: Element, words: Expr, place: int) -> Expr:
    """The bytes at a place of some words, as int32."""
    if quad == QUAD_U8:
        return T.bitwise_and(
            T.shift_right(words, int_splat(BYTE_BITS * place, words)), int_splat((1 << BYTE_BITS) - 1, words)
        )
    highest = T.shift_left(words, int_splat(BYTE_BITS * (QUAD - 1 - place), words))
    return T.shift_right(highest, int_splat(BYTE_BITS * (QUAD - 1), words))
