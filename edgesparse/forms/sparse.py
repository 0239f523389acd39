"""The tiled sparse form: groups of rows of w, each with the nonzeros of a block of K, against the packed block of x.

Source: Elsen et al. 2019, "Fast Sparse ConvNets", arXiv:1911.09723.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.cut import tile_width
from edgesparse.forms.dense import FMA_LATENCY, MOST_ROWS
from edgesparse.forms.tile import Experiment, counted
from edgesparse.forms.tiled import Passes, TiledTile, experiment, splits_of
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.program import Bound, Constant, IndexKind
from edgesparse.sparsity.formats import SHORT_INDICES, Grouping, pack_groups

BLOCKS = ((1, 1), (2, 1), (4, 1), (1, 4))
K_BLOCKS = (64, 96, 128, 192, 256, 512)
CHUNKS = (1, 4)  # entries of a row in a step; more only where rows are few
MOST_FILL = 2.5  # weights that blocks may keep for each nonzero, to be worth a look
INDEX_BYTES = 2
OVERHEAD = 1.3  # of a step over its counted slots
SPARE = 4  # registers, for weights and x
HALF_SPARE = 12  # the same where AArch64 takes elements of float16 from one half of the registers only
LOOP_EXIT = 12  # slots lost where a loop ends whose length varies


def fitting_loops(cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
    """Groups of rows whose accumulators fit the register file, besides weights and an x vector."""
    for block, rows, chunk in product(BLOCKS, (1, 2, 4, MOST_ROWS), CHUNKS):
        if block[1] > 1 and numerics.is_dotted:
            continue
        if rows % block[0] == 0 and (chunk == 1 or block[1] * rows <= 2):
            spare = HALF_SPARE if numerics.sums_blocks else SPARE
            most = min(13 if cpu.registers >= 32 else 7, (cpu.registers - spare) // rows)
            for vectors in range(1, most + 1):
                yield Loop("sparse", block, vectors, rows, chunk, str(numerics))


@dataclass(frozen=True)
class SparseTile(TiledTile):
    """`rows` of w end together; `block` = (rows, columns) of w share an index: (1, 1) is unstructured.

    A step of the inner loop takes `chunk` entries of each row.
    """

    block: tuple[int, int] = (1, 1)
    chunk: int = 1

    form: ClassVar[str] = "sparse"
    is_sparse: ClassVar[bool] = True

    @classmethod
    def loops(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
        """Of many numbers of vectors, the small ones, where costs are least regular, and then every third."""
        every = list(fitting_loops(cpu, numerics))
        for loop in every:
            largest = max(other.vectors for other in every if replace(other, vectors=loop.vectors) == loop)
            if loop.vectors <= 4 or loop.vectors % 3 == 1 or loop.vectors == largest:
                yield loop

    @classmethod
    def slots(cls, loop: Loop) -> tuple[float, float]:
        """Bound by multiply-adds, by loads of x, weights and indices, or by the chain of additions."""
        accumulators, (height, depth) = loop.vectors * loop.rows, loop.block
        entries = loop.rows // height * loop.chunk
        loads = entries * (depth * (loop.vectors + height) + 1)
        work = max(loads, accumulators * depth * loop.chunk, FMA_LATENCY * depth * loop.chunk / 2)
        return work * OVERHEAD, LOOP_EXIT + accumulators

    @classmethod
    def experiments(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Experiment]:
        """Densities and blocks of K that differ in how many steps follow each start."""
        for loop in cls.loops(cpu, numerics):
            for density, k_block in ((0.5, 64), (0.1, 256), (0.1, 128), (0.1, 64)):
                tile = cls(loop.vectors, k_block, loop.rows, 1, loop.block, loop.chunk)
                yield experiment(loop, tile, density, cpu, numerics)

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """Every loop with every block of K, where blocks of weights hold few zeros."""
        plane, lanes, most = layer.plane, cpu.lanes(layer.numerics.x), layer.numerics.most_products
        for loop in () if layer.is_vector else fitting_loops(cpu, layer.numerics):
            depth = loop.block[1]
            if plane.k % depth or loop.rows >= 2 * plane.m or loop.vectors > -(-plane.n // lanes):
                continue
            if weight.stored(loop.block) > MOST_FILL * weight.nonzeros:
                continue
            reach = SHORT_INDICES // tile_width(plane, loop.vectors, lanes) // depth * depth
            splits = splits_of(layer, loop.vectors, loop.rows, cpu)
            for k_block in sorted({min(size, plane.k, reach) for size in (*K_BLOCKS, plane.k)}):
                tile = cls(loop.vectors, k_block, loop.rows, splits, loop.block, loop.chunk)
                if k_block <= most or weight.longest(tile.grouping) <= most:
                    yield tile

    def loop(self, vectors: int, numerics: Numerics) -> Loop:
        """See `TiledTile`."""
        return Loop("sparse", self.block, vectors, self.rows, self.chunk, str(numerics))

    def passes(self, layer: Layer, weight: WeightCounts) -> Passes:
        """See `TiledTile`."""
        height, depth = self.block
        packed = weight.steps(self.grouping)
        entries = packed * (self.rows // height) * self.chunk
        entry_bytes = layer.numerics.w.size_bytes * height * depth + INDEX_BYTES
        return Passes(packed / layer.plane.groups, entries * entry_bytes, entries / layer.plane.groups * depth)

    @property
    def zeros(self) -> tuple[int, int]:
        """See `Tile`."""
        return self.block

    @property
    def grouping(self) -> Grouping:
        """How the weight is packed."""
        return Grouping(self.rows, self.block, self.splits, self.k_block, self.chunk)

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """Grouped rows, and what their kernel relies on: where the last block of K begins, which may be shorter."""
        scale = tile_width(layer.plane, self.vectors, cpu.lanes(layer.numerics.x))
        packed = pack_groups(layer.matrices, self.grouping, scale)
        last = len(packed.indptr) - 1 - packed.last_groups
        step = int(packed.indptr[last])
        indptr = Bound(IndexKind.INDPTR, "int32", int(packed.indptr[-1]), part=last, part_limit=step)
        entry = step * packed.entries
        kind = packed.indices.dtype.name
        index = Bound(IndexKind.INDEX, kind, packed.index_limit, part=entry, part_limit=packed.last_limit)
        order = Bound(IndexKind.ORDER, packed.order.dtype.name, packed.order_limit, part=packed.order_part)
        return (
            Constant(packed.indptr, indptr),
            Constant(packed.indices, index),
            Constant(packed.values),
            Constant(packed.order, order),
            self.per_channel(layer, bias, cpu),
        )

    @property
    def name(self) -> str:
        """Such as 1x4_u7k256r1c4s2."""
        block = "" if self.block == (1, 1) else "{}x{}_".format(*self.block)
        more = "".join(f"{letter}{count}" for letter, count in (("c", self.chunk), ("s", self.splits)) if count > 1)
        return f"{block}u{self.vectors}k{self.k_block}r{self.rows}{more}"

    @property
    def words(self) -> str:
        """See `Tile`."""
        block = "" if self.block == (1, 1) else " {}x{}".format(*self.block)
        rows = f"{self.rows} rows x " if self.rows > 1 else ""
        chunk = f" x {self.chunk} entries" if self.chunk > 1 else ""
        return f"sparse{block}, {rows}{counted(self.vectors)}{chunk}{self.ends}"
