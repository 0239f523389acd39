"""What the tiled forms share: for each run of columns of N a block of x is packed, then every row passes over it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.cut import Run, runs, tile_count, tile_width
from edgesparse.forms.tile import Experiment, Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP, Counts, busiest, count_memory, even_splits
from edgesparse.graph.layers import Layer
from edgesparse.numerics import Numerics

EXPERIMENT_CHANNELS = 512
EXPERIMENT_COLUMNS = 224  # about as many as a 14x14 map has


@dataclass(frozen=True)
class Passes:
    """What every run of columns has to do: steps, weights in bytes for all runs, and vectors of x that steps fetch."""

    steps: float
    weight_bytes: float
    reads: float


@dataclass(frozen=True)
class TiledTile(Tile):
    """`vectors` registers of columns at a time; `rows` output rows are accumulated at once; M is cut into ranges."""

    @abstractmethod
    def loop(self, vectors: int, numerics: Numerics) -> Loop:
        """The inner loop of a run of so many vectors."""

    @abstractmethod
    def passes(self, layer: Layer, weight: WeightCounts) -> Passes:
        """What a run has to do."""

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """See `Tile`."""
        plane, lanes = layer.plane, cpu.lanes(layer.numerics.x)
        blocks, units, images = -(-plane.k // self.k_block), -(-plane.m // self.rows), plane.batch * plane.groups
        each = self.passes(layer, weight)
        first, *last = runs(plane, self.vectors, lanes)
        places = tile_count(plane, self.vectors, lanes)
        kept = 2 * blocks if blocks > 1 and layer.numerics.sums_blocks else blocks - 1  # two vectors for each of sums
        counts = Counts(float)
        for run, number in ((first, places - len(last)), *((run, 1) for run in last)):
            copies, vectors = number * images, run.vectors(lanes)
            loop = self.loop(vectors, layer.numerics)
            counts[loop, STEP] += copies * each.steps
            counts[loop, START] += copies * blocks * units
            counts["pack_row_ns"] += copies * self.splits * plane.k
            counts["pack_vector_ns"] += copies * self.splits * plane.k * _pack_vectors(run, lanes)
            counts["partial_vector_ns"] += copies * kept * plane.m * vectors
            counts["store_piece_ns"] += copies * plane.m * (run.size % lanes).bit_count()
            counts["far_vector_ns"] += copies * each.reads * vectors
        counts["far_vector_ns"] *= self._far_share(layer, cpu, l1_share)
        counts["tile_ns"] = images * places * self.splits
        count_memory(counts, layer, each.weight_bytes, places, cpu)
        return counts

    def _far_share(self, layer: Layer, cpu: Cpu, l1_share: float) -> float:
        """Share of the packed x block that does not stay in the L1 cache."""
        width = tile_width(layer.plane, self.vectors, cpu.lanes(layer.numerics.x))
        block_bytes = layer.numerics.x.size_bytes * min(layer.plane.k, self.k_block) * width
        return max(0.0, 1.0 - l1_share * cpu.l1d_bytes / block_bytes)

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """See `Tile`."""
        plane, lanes = layer.plane, cpu.lanes(layer.numerics.x)
        sizes = [run.size for run in runs(plane, self.vectors, lanes)]
        copies = plane.batch * plane.groups * self.splits
        return busiest(copies, tile_count(plane, self.vectors, lanes), sizes[0], sizes[-1], threads)

    def cut(self, layer: Layer) -> tuple[int, int] | None:
        """See `Tile`."""
        plane = layer.plane
        alone = plane.batch * plane.groups == 1 and not layer.numerics.is_dotted
        return (plane.n, self.vectors) if alone else None


def experiment(loop: Loop, tile: TiledTile, density: float, cpu: Cpu, numerics: Numerics) -> Experiment:
    """A loop alone: a square weight, and columns that whole tiles divide."""
    width = loop.vectors * cpu.lanes(numerics.x)
    size = max(1, EXPERIMENT_COLUMNS // width) * width
    name = f"{loop.name} k{tile.k_block} d{density:g}"
    channels = EXPERIMENT_CHANNELS
    return Experiment(name, f"{numerics}n{size}", channels, channels, size, 1, density, tile, numerics=numerics)


def splits_of(layer: Layer, vectors: int, rows: int, cpu: Cpu, uneven: float = math.inf) -> int:
    """Ranges of M, so that each core has a tile where M can be cut for that; none cuts an element of y."""
    plane, channels, units = layer.plane, layer.numerics.y.channels, -(-layer.plane.m // rows)
    tiles = plane.batch * plane.groups * tile_count(plane, vectors, cpu.lanes(layer.numerics.x))
    splits = min(even_splits(tiles, cpu.cores, uneven), units)
    near = (*range(splits, 2 * splits), *range(splits - 1, 0, -1))
    found: int = next(count for count in near if count == 1 or -(-units // count) * rows % channels == 0)
    return found


def _pack_vectors(run: Run, lanes: int) -> int:
    """Vectors that copy one channel of a run."""
    return sum(-(-columns // lanes) for columns in run.pieces)
