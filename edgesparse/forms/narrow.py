"""Dense layers of few columns: the lanes of vectors over M instead of N.

Source: Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD architectures",
arXiv:1808.05567.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.cpu import Cpu
from edgesparse.forms.caches import HELD, SHARED
from edgesparse.forms.dense import UNEVEN, dense_loop, fitting_loops
from edgesparse.forms.tile import Tile, counted
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP, Counts, busiest, count_memory, even_splits
from edgesparse.graph.geometry import Plane
from edgesparse.graph.layers import Layer
from edgesparse.program import Constant
from edgesparse.sparsity.formats import pack_panels

WIDE = 8  # lanes, of which small maps leave enough empty to lay vectors over M
TRANSPOSED_ROW = 2  # stores of a piece that take as long as transposing a row of a few columns and storing it


@dataclass(frozen=True)
class NarrowTile(Tile):
    """`columns` of N, no more than a register has lanes, are accumulated at once for `vectors` registers of rows.

    It is N that is cut into `splits` ranges.
    """

    columns: int = 1

    form: ClassVar[str] = "narrow"

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """Where wide vectors over N have empty lanes, and where x and a panel of w stay in the L2 cache.

        Columns take the place of rows in the loop. Each weight is to meet several columns, each column several vectors.
        """
        plane, numerics = layer.plane, layer.numerics
        lanes = cpu.lanes(numerics.x)
        if layer.is_vector or numerics.sums_blocks or lanes < WIDE or plane.n % lanes == 0:
            return
        for loop in fitting_loops(cpu, numerics):
            rows = loop.vectors * lanes
            k_block = min(plane.k, int(SHARED * cpu.l1d_bytes) // (numerics.w.size_bytes * rows))
            cached_bytes = numerics.x.size_bytes * (plane.x_size // plane.batch)
            cached_bytes += numerics.w.size_bytes * plane.k * rows
            if loop.vectors == 1 or loop.vectors > -(-plane.m // lanes) or cached_bytes > HELD * cpu.l2_bytes:
                continue
            for columns in (c for c in range(2, loop.rows + 1) if plane.width % c == 0):
                cut = Narrow(plane, cls(loop.vectors, k_block, columns=columns), lanes)
                splits = even_splits(cut.tiles, cpu.cores, UNEVEN)
                yield cls(loop.vectors, k_block, splits=min(splits, cut.steps), columns=columns)

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """The dense loop with columns for rows."""
        plane, numerics = layer.plane, layer.numerics
        cut = Narrow(plane, self, cpu.lanes(numerics.x))
        images = plane.batch * plane.groups
        starts = images * cut.panels * cut.steps
        loop = dense_loop(self.vectors, self.columns, numerics)
        counts = Counts(float)
        counts[loop, STEP], counts[loop, START] = starts * plane.k, starts * cut.blocks
        counts["partial_vector_ns"] = starts * (cut.blocks - 1) * self.vectors * self.columns
        counts["store_piece_ns"] = images * cut.steps * plane.m * TRANSPOSED_ROW
        counts["tile_ns"] = cut.tiles
        weight_bytes = numerics.w.size_bytes * plane.groups * cut.panels * cut.rows * plane.k
        count_memory(counts, layer, weight_bytes, self.splits, cpu)
        return counts

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """See `Tile`."""
        plane, cut = layer.plane, Narrow(layer.plane, self, cpu.lanes(layer.numerics.x))
        last = max(0, cut.steps - (self.splits - 1) * cut.share)
        return busiest(plane.batch * plane.groups * cut.panels, self.splits, cut.share, last, threads)

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """Panels [groups, panels, K, vectors * lanes], and the bias."""
        plane, cut = layer.plane, Narrow(layer.plane, self, cpu.lanes(layer.numerics.x))
        panels = np.stack([pack_panels(w, plane.k, cut.rows).values for w in layer.matrices])
        return Constant(panels), self.per_channel(layer, bias, cpu)

    def per_channel(self, layer: Layer, numbers: np.ndarray, cpu: Cpu) -> Constant:
        """Padded to whole panels, [groups, panels * vectors * lanes]."""
        plane, cut = layer.plane, Narrow(layer.plane, self, cpu.lanes(layer.numerics.x))
        padding = ((0, 0), (0, cut.panels * cut.rows - plane.m))
        return Constant(np.pad(numbers.reshape(plane.groups, plane.m), padding))

    @property
    def name(self) -> str:
        """Such as u2k64r1n7."""
        return f"{super().name}n{self.columns}"

    @property
    def words(self) -> str:
        """See `Tile`."""
        return f"dense, {self.columns} columns x {counted(self.vectors)} of rows{self.ends}"


@dataclass(frozen=True)
class Narrow:
    """How the dense kernel with lanes over M cuts a layer: panels of rows, and steps of `tile.columns` columns of N.

    Columns of a step are neighbours in a row of the output: their number divides its width.
    """

    plane: Plane
    tile: NarrowTile
    lanes: int

    @property
    def rows(self) -> int:
        """Rows of a panel."""
        return self.tile.vectors * self.lanes

    @property
    def panels(self) -> int:
        """Panels of a group of channels; the last may have rows that do not exist."""
        return -(-self.plane.m // self.rows)

    @property
    def blocks(self) -> int:
        """Blocks of K."""
        return -(-self.plane.k // self.tile.k_block)

    @property
    def steps(self) -> int:
        """Groups of columns of an image."""
        return self.plane.n // self.tile.columns

    @property
    def share(self) -> int:
        """Steps of one of the ranges that N is cut into; the last may have fewer."""
        return -(-self.steps // self.tile.splits)

    @property
    def tiles(self) -> int:
        """Units of parallel work."""
        return self.plane.batch * self.plane.groups * self.panels * self.tile.splits
