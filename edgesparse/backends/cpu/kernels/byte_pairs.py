"""Sums and products of two stored numbers, as few float32 operations: tried on all pairs of bytes, or not taken.

The rule is that of dequantizing both, adding or multiplying, and quantizing, each step rounded to float32; its division
takes longer than all the rest. Bytes are counted from the lowest on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from edgesparse.backends.cpu.kernels.bytes import Stored

BYTES = np.arange(256)
_STEPS = 2  # float32 numbers on either side of each factor
_SPAN = 2.0**16  # of magnitudes whose sums float64 holds exactly


@dataclass(frozen=True)
class FusedSum:
    """fma(a, first, fma(b, second, start)): how far a + b is above the zero point of what is stored."""

    first: float
    second: float
    start: float

    def __call__(self) -> np.ndarray:
        """For all pairs of bytes."""
        inner = (BYTES * self.second + self.start).astype(np.float32).astype(np.float64)
        sums: np.ndarray = (BYTES[:, None] * self.first + inner).astype(np.float32)
        return sums


@dataclass(frozen=True)
class ScaledProduct:
    """(a - zero) * (b - zero) * factor, of which the first product is exact."""

    factor: float

    def __call__(self, a: Stored, b: Stored) -> np.ndarray:
        """For all pairs of bytes."""
        exact = (BYTES - a.shift)[:, None] * (BYTES - b.shift)
        products: np.ndarray = exact.astype(np.float32) * np.float32(self.factor)
        return products


def reciprocal(a: Stored, b: Stored, y: Stored, low: int, high: int, *, is_product: bool) -> float | None:
    """What the last step may multiply by in place of its division, for each pair of bytes; None if none is found."""
    left, right = _real(a)[:, None], _real(b)
    real = left * right if is_product else left + right
    wanted = limited(real, y, low, high)
    for step in _outward(4 * _STEPS):
        factor = _near(1 / float(np.float32(y.scale)), step)
        if np.array_equal(_rounded(real * np.float32(factor), y, low, high), wanted):
            return factor
    return None


def fused_sum(a: Stored, b: Stored, y: Stored, low: int, high: int) -> FusedSum | None:
    """The sum that gives what the rule gives, limited to [low, high], for each pair of bytes; None if none is found."""
    wanted = limited(_real(a)[:, None] + _real(b), y, low, high)
    scales = [float(np.float32(by.scale)) for by in (a, b, y)]
    first, second = scales[0] / scales[2], scales[1] / scales[2]
    start = -(first * a.shift + second * b.shift)
    sizes = [size for size in (first, second, abs(start)) if size]
    if not np.isfinite(sizes).all() or len(sizes) < 2 or max(sizes) > _SPAN * min(sizes):
        return None
    for steps in sorted(product(range(-_STEPS, _STEPS + 1), repeat=3), key=lambda each: sum(map(abs, each))):
        found = FusedSum(*(_near(size, step) for size, step in zip((first, second, start), steps, strict=True)))
        if np.array_equal(_rounded(found(), y, low, high), wanted):
            return found
    return None


def scaled_product(a: Stored, b: Stored, y: Stored, low: int, high: int) -> ScaledProduct | None:
    """The same of a product."""
    wanted = limited(_real(a)[:, None] * _real(b), y, low, high)
    factor = float(np.float32(a.scale)) * float(np.float32(b.scale)) / float(np.float32(y.scale))
    for step in _outward(4 * _STEPS):
        found = ScaledProduct(_near(factor, step))
        if np.array_equal(_rounded(found(a, b), y, low, high), wanted):
            return found
    return None


def largest(a: Stored, b: Stored, y: Stored, *, is_product: bool) -> float:
    """The size that no sum or product exceeds, in steps of what is stored."""
    left, right = (float(np.abs(_real(by)).max()) for by in (a, b))
    return (left * right if is_product else left + right) / float(np.float32(y.scale))


def limited(real: np.ndarray, y: Stored, low: int, high: int) -> np.ndarray:
    """What QuantizeLinear stores of float32 numbers, within limits."""
    return _rounded(real / np.float32(y.scale), y, low, high)


def _real(by: Stored) -> np.ndarray:
    """What the bytes stand for."""
    real: np.ndarray = (BYTES - by.shift).astype(np.float32) * np.float32(by.scale)
    return real


def _rounded(scaled: np.ndarray, y: Stored, low: int, high: int) -> np.ndarray:
    found: np.ndarray = np.clip(np.rint(scaled), low - y.shift, high - y.shift)
    return found


def _near(value: float, steps: int) -> float:
    near = np.float32(value)
    for _ in range(abs(steps)):
        near = np.nextafter(near, np.float32(np.inf if steps > 0 else -np.inf))
    return float(near)


def _outward(most: int) -> Iterator[int]:
    yield 0
    for step in range(1, most + 1):
        yield from (step, -step)
