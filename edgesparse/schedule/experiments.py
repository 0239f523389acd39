"""The measurements that a cost table is fitted to: small layers, each computed by a given candidate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgesparse.devices.costs import Loop
from edgesparse.devices.targets import Target
from edgesparse.forms.column import MOST_VECTORS, ColumnTile
from edgesparse.forms.dense import DenseTile, fitting_loops
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.sparse_column import SparseColumnTile
from edgesparse.forms.tile import Tile
from edgesparse.numerics import F32

CHANNELS = 512
COLUMNS = 224  # about as many as a 14x14 map has
REGIMES = ((0.5, 64), (0.1, 256), (0.1, 128), (0.1, 64))
"""Density and rows of a K block: they differ in how many steps a start of the loop is followed by."""

SINGLE_COLUMNS = ((1000, 2048), (256, 512))
"""M and K."""

BOTTLENECK_TILES = ((7, 96, 2), (6, 64, 2), (4, 192, 2), (4, 96, 4), (2, 128, 4))
"""Vectors, rows of a K block and rows of w of the tiles that whole blocks are measured with."""


@dataclass(frozen=True)
class Experiment:
    """A layer y[M, N] = w[M, K] @ x[K, N] and how to compute it.

    `window` is 1 for a pointwise convolution, 3 for one over a square map of `size` columns, and 0 for a linear layer
    of a single column. Experiments of one `chain` are computed one after the other, each on what the one before gave.
    """

    name: str
    chain: str
    m: int
    channels: int
    size: int
    window: int
    density: float
    tile: Tile
    activation: str = ""  # operator that follows


def experiments(target: Target) -> list[Experiment]:
    """Every loop in several regimes, then layers that stress what all kernels do alike."""
    return [
        *_loops(target),
        *_packing(target),
        *_bottlenecks(target),
        *_streaming(target),
        *_single_columns(target),
    ]


def _loops(target: Target) -> Iterator[Experiment]:
    for loop in DenseTile.loops(target):
        for _, k_block in REGIMES[:2]:
            yield _regime(loop, DenseTile(loop.vectors, k_block, loop.rows), 1.0, target)
    for loop in SparseTile.loops(target):
        for density, k_block in REGIMES:
            tile = SparseTile(loop.vectors, k_block, loop.rows, 1, loop.block, loop.chunk)
            yield _regime(loop, tile, density, target)


def _regime(loop: Loop, tile: Tile, density: float, target: Target) -> Experiment:
    width = loop.vectors * target.lanes(F32)
    size = max(1, COLUMNS // width) * width
    name = f"{loop.name} k{tile.k_block} d{density:g}"
    return Experiment(name, f"n{size}", CHANNELS, CHANNELS, size, 1, density, tile)


def _packing(target: Target) -> Iterator[Experiment]:
    """Few and many output channels; windows over small maps; blocks of x that exceed the L1 cache."""
    some = min(4, max(loop.vectors for loop in fitting_loops(target)))
    for name, m, channels, size, k_block in (
        ("first", 16, 16, 784, 64),
        ("wide", 512, 16, 784, 128),
        ("narrow", 16, 512, 784, 128),
        ("wide again", 512, 16, 784, 64),
        ("narrow again", 32, 512, 784, 512),
        ("small", 256, 32, 784, 64),
        ("smaller", 32, 256, 784, 64),
    ):
        tile = SparseTile(some, min(k_block, channels))
        yield Experiment(name, "pack", m, channels, size, 1, 0.1, tile)
    for m, channels in ((64, 256), (256, 64)):
        gelu = SparseTile(some, 64)
        yield Experiment(f"gelu {m}", "gelu", m, channels, COLUMNS, 1, 0.1, gelu, "Gelu")
    for size in (7, 14, 28, 56):
        channels = max(32, 1792 // size)
        for k_block in (128, 512, 1152):
            tile = SparseTile(some, min(k_block, 9 * channels))
            name = f"window {size} k{k_block}"
            yield Experiment(name, f"map{size}", channels, channels, size, 3, 0.1, tile)
    for vectors in (some, 2 * some):
        for k_block in (256, 512, 1024)[: 3 if vectors == some else 2]:
            tile = SparseTile(vectors, k_block)
            name = f"far u{vectors} k{k_block}"
            yield Experiment(name, "far", 1024, 1024, 256, 1, 0.1, tile)


def _bottlenecks(target: Target) -> Iterator[Experiment]:
    """Residual blocks as networks have them, by tiles of several shapes: here all costs come together."""
    most = max(loop.vectors for loop in fitting_loops(target))
    tiles = [(min(most, vectors), k_block, rows) for vectors, k_block, rows in BOTTLENECK_TILES]
    for size, channels in ((56, 64), (28, 128), (14, 256), (7, 512)):
        for vectors, k_block, rows in dict.fromkeys(tiles):
            for part, m, inputs, window in (
                ("reduce", channels, 4 * channels, 1),
                ("expand", 4 * channels, channels, 1),
                ("window", channels, channels, 3),
            ):
                chain = f"{'windows' if window > 1 else 'points'}{size}"
                name = f"{part} {size} u{vectors} r{rows} k{k_block}"
                columns = size if window > 1 else size * size
                tile = SparseTile(vectors, min(k_block, window * window * inputs), rows)
                yield Experiment(name, chain, m, inputs, columns, window, 0.1, tile)


def _streaming(target: Target) -> Iterator[Experiment]:
    """Weights larger than the caches, read once and again."""
    loop = max(fitting_loops(target), key=_accumulators)
    for size in (loop.vectors, 4 * loop.vectors):
        tile = DenseTile(loop.vectors, 256, loop.rows)
        columns = size * target.lanes(F32)
        for i in range(2):
            name = f"stream dense {size} {i}"
            yield Experiment(name, f"s{size}", 1024, 1024, columns, 1, 1.0, tile)
            name = f"stream sparse {size} {i}"
            yield Experiment(name, f"s{size}", 1024, 1024, columns, 1, 0.25, SparseTile(loop.vectors, 128))


def _single_columns(target: Target) -> Iterator[Experiment]:
    for loop in ColumnTile.loops(target):
        for m, k in SINGLE_COLUMNS:
            m = min(m, target.lanes(F32) * loop.vectors) if loop.vectors < MOST_VECTORS else m
            yield _single_column(loop, ColumnTile(loop.vectors, k), m, 1.0)
    for loop in SparseColumnTile.loops(target):
        for m, k in SINGLE_COLUMNS:
            yield _single_column(loop, SparseColumnTile(loop.vectors, k), m, 0.1)


def _single_column(loop: Loop, tile: Tile, m: int, density: float) -> Experiment:
    k = tile.k_block
    return Experiment(f"{loop.name} m{m} k{k}", f"{loop.name} {k}", m, k, 1, 0, density, tile)


def _accumulators(loop: Loop) -> int:
    return loop.vectors * loop.rows
