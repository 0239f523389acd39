"""Minimal filtering of 3x3 windows at unit stride: outputs in squares of 2x2 by 16 products instead of 36.

Source: Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.cpu import Cpu
from edgesparse.forms.caches import HELD
from edgesparse.forms.dense import MOST_ROWS, dense_loop, fitting_loops
from edgesparse.forms.tile import Tile, counted
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP, Counts, busiest, count_memory
from edgesparse.graph.geometry import Plane
from edgesparse.graph.layers import Layer
from edgesparse.program import Constant

PRODUCTS = 16  # of a square, and elements of x that make it
MOST_IDLE = 1.2  # rows of squares of the busiest core over its even share
TRANSFORM_FMAS = 50  # multiply-adds that take as long as one transform of a vector: 32 additions, 32 loads and stores
_FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G of the paper


@dataclass(frozen=True)
class Squares:
    """How outputs of a window of 3x3 are cut into squares of 2x2, and these into blocks of whole rows of squares.

    Counts are squares. A row takes the vectors that begin at `starts`; a block is as many rows as `vectors` registers
    hold, at least one.
    """

    plane: Plane
    vectors: int
    lanes: int

    @property
    def height(self) -> int:
        """Rows of squares."""
        return -(-self.plane.height // 2)

    @property
    def width(self) -> int:
        """Squares of a row."""
        return -(-self.plane.width // 2)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return min(self.height, max(1, self.vectors * self.lanes // self.width))

    @property
    def blocks(self) -> int:
        """Blocks of an image."""
        return -(-self.height // self.rows)

    @property
    def last_rows(self) -> int:
        """Rows of the last block."""
        return self.height - (self.blocks - 1) * self.rows

    @property
    def step(self) -> int:
        """Lanes of the vectors along a row: no more than a row needs."""
        return min(self.lanes, 1 << (self.width - 1).bit_length())

    @property
    def starts(self) -> range:
        """The first square of each vector of a row."""
        return range(0, self.width, self.step)

    @property
    def pitch(self) -> int:
        """Elements between channels of a block, with room for what a vector stores past its row."""
        end = (self.rows - 1) * self.width + len(self.starts) * self.step
        return -(-end // self.lanes) * self.lanes

    def chunks(self, rows: int) -> list[int]:
        """Vectors of the parts of a block of some rows that are multiplied at a time."""
        count = -(-rows * self.width // self.lanes)
        return [min(self.vectors, count - first) for first in range(0, count, self.vectors)]


@dataclass(frozen=True)
class WinogradTile(Tile):
    """`vectors` of squares at a time, and `rows` of w; x is transformed whole; M is cut into ranges."""

    form: ClassVar[str] = "winograd"
    reads_window: ClassVar[bool] = False
    needs_measured: ClassVar[bool] = True
    margin: ClassVar[float] = 0.1
    method: ClassVar[str] = "minimal filtering (Winograd)"
    note: ClassVar[str] = f"{method} takes 16 multiplications for 36"

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """One, if any, for a window of 3x3 at unit stride.

        Its block is the largest whose transformed x stays in the L2 cache, so that weights are seldom read again, and
        that shares rows, or else M, evenly among cores. It fills its vectors, and takes several turns of them only
        where a row of squares is wider than any loop. A single vector leaves registers for more rows than other loops
        have.
        """
        window, plane = layer.window, layer.plane
        steps = window and (window.kernel, window.strides, window.dilations)
        is_plain = not (layer.numerics.is_dotted or layer.numerics.sums_blocks)
        if window is None or plane.groups > 1 or not is_plain or steps != ((3, 3), (1, 1), (1, 1)):
            return
        known = list(fitting_loops(cpu, layer.numerics))
        for loop in reversed(known):
            cut = Squares(plane, loop.vectors, cpu.lanes(layer.numerics.x))
            first, *others = cut.chunks(cut.rows)
            transformed_bytes = PRODUCTS * window.channels * cut.rows * cut.width * layer.numerics.acc.size_bytes
            if first < loop.vectors or (others and loop != known[-1]) or transformed_bytes > HELD * cpu.l2_bytes:
                continue
            if cut.blocks > 1 and -(-cut.blocks // cpu.cores) * cut.rows * cpu.cores > MOST_IDLE * cut.height:
                continue
            most = cpu.registers - 4 if loop.vectors == 1 else loop.rows
            panels = -(-plane.m // most)
            splits = max(1, min(-(-cpu.cores // (plane.batch * cut.blocks)), panels))
            yield cls(loop.vectors, plane.k, -(-plane.m // panels), splits)
            return

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """The steps of the dense loop for each product, and transforms that cost as much as some steps.

        Vectors of half the lanes or fewer take half the time: cores of many lanes have units of half as many.
        Loops of more rows than cost tables know cost as much a row as those of the most that they know.
        """
        plane, lanes = layer.plane, cpu.lanes(layer.numerics.x)
        squares = Squares(plane, self.vectors, lanes)
        channels, panels = plane.k // 9, -(-plane.m // self.rows)
        rows = min(self.rows, MOST_ROWS)
        counts = Counts(float)
        loop = partial(dense_loop, rows=rows, numerics=layer.numerics)
        transform = TRANSFORM_FMAS / (2 if squares.step <= lanes // 2 else 1)
        for number, height in ((squares.blocks - 1, squares.rows), (1, squares.last_rows)):
            copies = number * plane.batch
            starts = copies * PRODUCTS * panels * self.rows / rows
            chunks = squares.chunks(height)
            for vectors in chunks:
                counts[loop(vectors), STEP] += starts * channels
                counts[loop(vectors), START] += starts
            if 0 < height * squares.width % lanes <= lanes // 2:
                counts[loop(1), STEP] -= starts * channels / 2
            transforms = copies * height * len(squares.starts) * (channels * self.splits + plane.m)
            counts[loop(chunks[0]), STEP] += transforms * transform / (chunks[0] * rows)
        counts["tile_ns"] = plane.batch * squares.blocks * self.splits
        weight_bytes = layer.numerics.w.size_bytes * PRODUCTS * channels * panels * self.rows
        count_memory(counts, layer, weight_bytes, squares.blocks, cpu)
        return counts

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """See `Tile`."""
        plane, cut = layer.plane, Squares(layer.plane, self.vectors, cpu.lanes(layer.numerics.x))
        copies = plane.batch * plane.groups * self.splits
        return busiest(copies, cut.blocks, cut.rows, cut.last_rows, threads)

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """The panels of `transform_weight`, bias [M]."""
        weight = layer.filters.reshape(layer.plane.m, -1, 3, 3)
        return Constant(transform_weight(weight, self.rows)), Constant(bias)

    @property
    def words(self) -> str:
        """See `Tile`."""
        rows = f"{self.rows} rows x " if self.rows > 1 else ""
        return f"dense in squares of 2x2, {rows}{counted(self.vectors)}{self.ends}"


def transform_weight(weight: np.ndarray, rows: int) -> np.ndarray:
    """The panels of a weight [M, C, 3, 3]: G w G^T as [panels, 16, C, rows], zero where M does not divide."""
    m, channels = weight.shape[:2]
    products = _FILTER @ weight.astype(np.float64) @ _FILTER.T
    flat = np.pad(products.reshape(m, channels, PRODUCTS), ((0, -m % rows), (0, 0), (0, 0)))
    panels = flat.reshape(-1, rows, channels, PRODUCTS).transpose(0, 3, 2, 1)
    return np.ascontiguousarray(panels, weight.dtype)
