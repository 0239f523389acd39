"""A single column by the nonzeros of each row, summed in independent chains that hide the latency of multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.column import EXPERIMENT_SIZES, ColumnTile, column_work, experiment
from edgesparse.forms.sparse import LOOP_EXIT
from edgesparse.forms.tile import Experiment, Tile, counted
from edgesparse.forms.weight import CHAINS, WeightCounts
from edgesparse.forms.work import Counts
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.program import Bound, Constant, IndexKind
from edgesparse.sparsity.formats import pack_chained


@dataclass(frozen=True)
class SparseColumnTile(Tile):
    """Row after row, over the whole of K."""

    form: ClassVar[str] = "sparse_column"
    is_sparse: ClassVar[bool] = True
    reads_window: ClassVar[bool] = False
    note: ClassVar[str] = ColumnTile.note

    @classmethod
    def loops(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
        """One."""
        yield _loop(numerics)

    @classmethod
    def slots(cls, loop: Loop) -> tuple[float, float]:
        """A load and a multiply-add for each chain."""
        return float(CHAINS), LOOP_EXIT

    @classmethod
    def experiments(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Experiment]:
        """With a tenth of the weights."""
        for loop in cls.loops(cpu, numerics):
            for m, k in EXPERIMENT_SIZES:
                yield experiment(loop, cls(loop.vectors, k), m, 0.1, numerics)

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """One for a single column."""
        if layer.is_vector:
            yield cls(1, layer.plane.k)

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """A step's cost has the reading of its weights in it."""
        return column_work(_loop(layer.numerics), weight.chains, layer.plane.m)

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """One thread computes it all."""
        return 1.0

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """CSR with rows padded to whole groups of chains; bias [M]."""
        packed = pack_chained(layer.weight, CHAINS)
        kind = packed.indices.dtype.name
        return (
            Constant(packed.indptr, Bound(IndexKind.INDPTR, "int32", int(packed.indptr[-1]))),
            Constant(packed.indices, Bound(IndexKind.INDEX, kind, packed.index_limit)),
            Constant(packed.values),
            self.per_channel(layer, bias, cpu),
        )

    @property
    def words(self) -> str:
        """See `Tile`."""
        return f"sparse, {counted(self.vectors)}{self.ends}"


def _loop(numerics: Numerics) -> Loop:
    return Loop("vector_sparse", (1, 1), 1, 1, numerics=str(numerics))
