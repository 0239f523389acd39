"""Partial sums in scratch memory of a narrower type: float16 accumulates for a block of K, float32 over all blocks."""

from __future__ import annotations

from dataclasses import replace

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Lanes
from edgesparse.backends.cpu.kernels.math import converted
from edgesparse.numerics import F32


def load_kept(area: Buffer, offset: Expr, lanes: Lanes) -> Expr:
    """As many float32 sums as there are lanes, which lie in two elements of the area each."""
    count = lanes.count
    return T.reinterpret(F32.name if count == 1 else f"{F32.name}x{count}", _pairs(lanes).load(area, offset))


def store_kept(area: Buffer, offset: Expr, lanes: Lanes, value: Expr) -> None:
    """Keep numbers of either type as float32."""
    pairs = _pairs(lanes)
    halves = T.reinterpret(f"{lanes.element.name}x{pairs.count}", converted(value, F32.name))
    pairs.store(area, offset, halves)


def _pairs(lanes: Lanes) -> Lanes:
    return replace(lanes, count=lanes.count * (F32.bits // lanes.element.bits))
