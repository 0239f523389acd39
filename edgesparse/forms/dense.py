"""The tiled dense form: panels of rows against the packed block of x.

Source: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.cut import tile_width
from edgesparse.forms.tile import Experiment
from edgesparse.forms.tiled import Passes, TiledTile, experiment, splits_of
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.program import Constant
from edgesparse.sparsity.formats import pack_panels

K_BLOCK = 256
MOST_ROWS = 8  # of w that are computed together
UNEVEN = 1.1  # tiles of the busiest core over an even share, from which on layers are cut further
FMA_LATENCY = 8  # multiply-adds in flight that keep the units of a core busy


def fitting_loops(cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
    """For each number of vectors, the most rows for which everything stays in registers.

    Besides accumulators and vectors of x, LLVM keeps the weights of a step there: of all rows, where each meets several
    vectors and rows are more than those. Rows of dot products make whole quads of y, those of float16 whole loads.
    """
    step = numerics.rows_together
    for vectors in range(1, (7 if cpu.registers >= 32 else 4) + 1):
        fitting = [
            rows
            for rows in range(step, MOST_ROWS + 1, step)
            if rows * vectors + vectors + (rows if rows > vectors > 1 else 1) <= cpu.registers
        ]
        if fitting:
            yield dense_loop(vectors, fitting[-1], numerics)


def dense_loop(vectors: int, rows: int, numerics: Numerics) -> Loop:
    """The loop over K of `rows` by `vectors` accumulators."""
    return Loop("dense", (1, 1), vectors, rows, numerics=str(numerics))


@dataclass(frozen=True)
class DenseTile(TiledTile):
    """Panels of `rows` rows."""

    form: ClassVar[str] = "dense"

    @classmethod
    def loops(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
        """Costs are interpolated between numbers of vectors: the most rows of each, and fewer vectors of as many."""
        fitting = list(fitting_loops(cpu, numerics))
        ends = {replace(loop, vectors=vectors) for loop in fitting for vectors in (1, -(-loop.vectors // 2))}
        yield from sorted({*fitting, *ends})

    @classmethod
    def slots(cls, loop: Loop) -> tuple[float, float]:
        """Bound by multiply-adds, or by their loads."""
        accumulators = loop.vectors * loop.rows
        return max(accumulators, loop.vectors + loop.rows, FMA_LATENCY), accumulators

    @classmethod
    def experiments(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Experiment]:
        """Many steps to a start, and few."""
        for loop in cls.loops(cpu, numerics):
            for k_block in (64, 256):
                yield experiment(loop, cls(loop.vectors, k_block, loop.rows), 1.0, cpu, numerics)

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """One for each number of vectors; the busiest core has hardly more than its share."""
        if layer.is_vector:
            return
        plane, lanes = layer.plane, cpu.lanes(layer.numerics.x)
        most_rows = {loop.vectors: loop.rows for loop in fitting_loops(cpu, layer.numerics)}
        for vectors in most_rows:
            widest = tile_width(plane, vectors, lanes) // lanes
            if widest in most_rows:
                rows = min(most_rows[widest], plane.m)
                splits = splits_of(layer, vectors, rows, cpu, UNEVEN)
                k_block = min(plane.k, K_BLOCK, layer.numerics.most_products)
                yield cls(vectors, k_block, rows, splits)

    def loop(self, vectors: int, numerics: Numerics) -> Loop:
        """See `TiledTile`."""
        return dense_loop(vectors, self.rows, numerics)

    def passes(self, layer: Layer, weight: WeightCounts) -> Passes:
        """See `TiledTile`."""
        plane, units = layer.plane, -(-layer.plane.m // self.rows)
        size = plane.groups * plane.k * units * self.rows
        return Passes(float(plane.k * units), layer.numerics.w.size_bytes * size, 0.0)

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """Panels [groups, blocks, panels, k_block, rows], bias [groups * M]."""
        panels = [pack_panels(w, self.k_block, self.rows).values for w in layer.matrices]
        return Constant(np.stack(panels)), self.per_channel(layer, bias, cpu)
