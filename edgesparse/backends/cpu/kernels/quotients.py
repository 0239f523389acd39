"""Quotients by the scale of what is stored: a few operations in place of a division, where they round to the same byte.

q = x * r with r next to 1 / scale, then once corrected by what is left of x: q + (x - q * scale) * r. Rounded to an
integer, that differs from x / scale only next to a number that lies in the middle of two integers; the float32 numbers
around all of these are tried when a kernel is built.

Source: Markstein 1990, "Computation of elementary functions on the IBM RISC System/6000 processor".
"""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm.tirx import Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernels.math import hold, lanes_of, splat
from edgesparse.devices.cpu import Cpu

FARTHEST = 512.0
"""In steps of what is stored: beyond any byte, whatever the zero point."""

_NORMAL = (2.0**-90, 2.0**90)
_NEIGHBOURS = 6  # float32 numbers on either side of each middle


def quotient(x: Expr, scale: float, cpu: Cpu) -> Expr:
    """x / scale in [-FARTHEST, FARTHEST], to be rounded to an integer; NaN becomes the lowest."""
    if cpu.isa == "armv7" or not _is_exact(float(np.float32(scale))):  # fma is no instruction of every ARMv7
        return _limited(hold(x / splat(scale, x)), FARTHEST)
    x, by = hold(_limited(x, float(np.float32(FARTHEST * scale)))), float(np.float32(1 / np.float32(scale)))
    first = hold(x * splat(by, x))
    left = fma(first, splat(-scale, x), x)
    return fma(left, splat(by, x), first)


def fma(a: Expr, b: Expr, c: Expr) -> Expr:
    """a * b + c, rounded once."""
    lanes = lanes_of(a)
    return hold(T.call_llvm_pure_intrin("float32" if lanes == 1 else f"float32x{lanes}", "llvm.fma", a, b, c))


def _limited(x: Expr, end: float) -> Expr:
    least, most = splat(-end, x), splat(end, x)
    above = hold(T.Select(x > least, x, least))  # which NaN is not
    return hold(T.Select(above < most, above, most))


@cache
def _is_exact(scale: float) -> bool:
    """Whether the corrected product rounds to the integer that the division rounds to, wherever it might not."""
    if not _NORMAL[0] <= scale <= _NORMAL[1]:
        return False
    by = np.float32(1 / np.float32(scale))
    middles = np.arange(0.5, FARTHEST, dtype=np.float32) * np.float32(scale)  # negative ones are symmetric
    steps = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1, dtype=np.int32)
    x = (middles.view(np.int32)[:, None] + steps).view(np.float32).ravel()
    first = x * by
    left = (x.astype(np.float64) - first.astype(np.float64) * scale).astype(np.float32)  # exact before it is rounded
    found = _sums(first.astype(np.float64), left.astype(np.float64) * np.float64(by))
    return np.array_equal(np.rint(found), np.rint(x / np.float32(scale)))


def _sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 sums of float64 numbers, rounded once."""
    total = a + b
    error = (a - (total - (total - a))) + (b - (total - a))  # exact: Knuth, TwoSum
    near = total.astype(np.float32)
    beside = np.nextafter(near, np.where(total > near, np.float32(np.inf), np.float32(-np.inf)), dtype=np.float32)
    halfway = (total != near) & (total - near == beside - total)  # what is lost decides between the two
    up, down = np.maximum(near, beside), np.minimum(near, beside)
    sums: np.ndarray = np.where(halfway & (error > 0), up, np.where(halfway & (error < 0), down, near))
    return sums
