"""The measurements that a cost table is fitted to: small layers, each computed by a given candidate."""

from __future__ import annotations

from collections.abc import Iterator

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms import FORMS
from edgesparse.forms.dense import DenseTile, fitting_loops
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Experiment
from edgesparse.forms.tiled import EXPERIMENT_COLUMNS
from edgesparse.numerics import F32

BOTTLENECK_TILES = ((7, 96, 2), (6, 64, 2), (4, 192, 2), (4, 96, 4), (2, 128, 4))
"""Vectors, rows of a K block and rows of w of the tiles that whole blocks are measured with."""


def experiments(cpu: Cpu) -> list[Experiment]:
    """Every loop of every form in several regimes, then layers that stress what all kernels do alike."""
    return [
        *(experiment for of in cpu.numerics for form in FORMS for experiment in form.experiments(cpu, of)),
        *_packing(cpu),
        *_bottlenecks(cpu),
        *_streaming(cpu),
    ]


def _packing(cpu: Cpu) -> Iterator[Experiment]:
    """Few and many output channels; windows over small maps; blocks of x that exceed the L1 cache."""
    some = min(4, max(loop.vectors for loop in fitting_loops(cpu)))
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
        yield Experiment(f"gelu {m}", "gelu", m, channels, EXPERIMENT_COLUMNS, 1, 0.1, gelu, "Gelu")
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


def _bottlenecks(cpu: Cpu) -> Iterator[Experiment]:
    """Residual blocks as networks have them, by tiles of several shapes: here all costs come together."""
    most = max(loop.vectors for loop in fitting_loops(cpu))
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


def _streaming(cpu: Cpu) -> Iterator[Experiment]:
    """Weights larger than the caches, read once and again."""
    loop = max(fitting_loops(cpu), key=_accumulators)
    for size in (loop.vectors, 4 * loop.vectors):
        tile = DenseTile(loop.vectors, 256, loop.rows)
        columns = size * cpu.lanes(F32)
        for i in range(2):
            name = f"stream dense {size} {i}"
            yield Experiment(name, f"s{size}", 1024, 1024, columns, 1, 1.0, tile)
            name = f"stream sparse {size} {i}"
            yield Experiment(name, f"s{size}", 1024, 1024, columns, 1, 0.25, SparseTile(loop.vectors, 128))


def _accumulators(loop: Loop) -> int:
    return loop.vectors * loop.rows
