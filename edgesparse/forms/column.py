"""A single column: y[M] = w[M, K] @ x[K], with the lanes of vectors over M."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.sparse import LOOP_EXIT
from edgesparse.forms.tile import Experiment, Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP, Counts
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.program import Constant
from edgesparse.sparsity.formats import pack_panels

MOST_VECTORS = 4  # registers of rows that are summed at once

EXPERIMENT_SIZES = ((1000, 2048), (256, 512))
"""M and K."""


@dataclass(frozen=True)
class ColumnTile(Tile):
    """`vectors` registers of rows at a time, over the whole of K. Every weight is read once."""

    form: ClassVar[str] = "column"
    reads_window: ClassVar[bool] = False
    note: ClassVar[str] = "a single column: every weight is read for one multiply-add"

    @classmethod
    def loops(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
        """For each number of vectors."""
        for vectors in range(1, MOST_VECTORS + 1):
            yield _loop(vectors, numerics)

    @classmethod
    def slots(cls, loop: Loop) -> tuple[float, float]:
        """Bound by loads of weights."""
        return loop.vectors, LOOP_EXIT

    @classmethod
    def experiments(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Experiment]:
        """Of fewer registers of rows than are summed at once, one panel."""
        for loop in cls.loops(cpu, numerics):
            for m, k in EXPERIMENT_SIZES:
                m = min(m, cpu.lanes(numerics.x) * loop.vectors) if loop.vectors < MOST_VECTORS else m
                yield experiment(loop, cls(loop.vectors, k), m, 1.0, numerics)

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """One for a single column."""
        if layer.is_vector:
            yield cls(panel_vectors(layer.plane.m, cpu.lanes(layer.numerics.x)), layer.plane.k)

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """A step's cost has the reading of its weights in it."""
        starts = -(-layer.plane.m // (self.vectors * cpu.lanes(layer.numerics.x)))
        return column_work(_loop(self.vectors, layer.numerics), layer.plane.k * starts, starts)

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """One thread computes it all."""
        return 1.0

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """Panels [panels, K, rows of a panel], and the bias."""
        lanes = cpu.lanes(layer.numerics.x)
        rows = lanes * panel_vectors(layer.plane.m, lanes)
        panels = pack_panels(layer.weight, layer.plane.k, rows).values
        return Constant(panels), self.per_channel(layer, bias, cpu)

    def per_channel(self, layer: Layer, numbers: np.ndarray, cpu: Cpu) -> Constant:
        """Padded to whole panels."""
        lanes = cpu.lanes(layer.numerics.x)
        return Constant(np.pad(numbers, (0, -layer.plane.m % (lanes * panel_vectors(layer.plane.m, lanes)))))


def panel_vectors(m: int, lanes: int) -> int:
    """Registers of rows that one tile computes."""
    return min(MOST_VECTORS, -(-m // lanes))


def experiment(loop: Loop, tile: Tile, m: int, density: float, numerics: Numerics) -> Experiment:
    """A loop alone."""
    k, channels = tile.k_block, numerics.x.channels * tile.k_block
    chain = f"{loop.name} {k}"
    return Experiment(f"{loop.name} m{m} k{k}", chain, m, channels, 1, 0, density, tile, numerics=numerics)


def column_work(loop: Loop, steps: float, starts: float) -> Counts:
    """The work of a call that only runs a loop."""
    counts = Counts(float)
    counts["call_ns"], counts[loop, STEP], counts[loop, START] = 1, steps, starts
    return counts


def _loop(vectors: int, numerics: Numerics) -> Loop:
    return Loop("vector_dense", (1, 1), vectors, 1, numerics=str(numerics))
