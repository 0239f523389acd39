"""What a form of kernel is: the tile that says how it is cut, and everything the compiler has to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import Counts
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.program import Constant


@dataclass(frozen=True)
class Tile:
    """How a kernel of y[M, N] = w[M, K] @ x[K, N] is cut. Each form is a child, with a kernel of its name.

    `vectors` SIMD registers at a time, and `rows` of w; x is read `k_block` rows at a time; `splits` ranges run in
    parallel.
    """

    vectors: int
    k_block: int
    rows: int = 1
    splits: int = 1

    form: ClassVar[str]
    """The name of the form, and of its kernel's module."""

    is_sparse: ClassVar[bool] = False
    """It skips zeros."""

    reads_window: ClassVar[bool] = True
    """Its kernel reads x through offsets, behind a window from phase planes; else as it lies."""

    needs_measured: ClassVar[bool] = False
    """Its gain depends on what caches hold, which estimated costs do not model."""

    margin: ClassVar[float] = 0.0
    """Share of the time of other dense forms that it must be predicted to save, since it is predicted roughly."""

    method: ClassVar[str] = ""
    """What reports call a form with a margin when it is declined."""

    note: ClassVar[str] = ""
    """What `explain` adds for a layer that runs in this form."""

    @classmethod
    def loops(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Loop]:
        """The inner loops that a cost table has to know; none where the form runs in those of another."""
        return iter(())

    @classmethod
    def slots(cls, loop: Loop) -> tuple[float, float]:
        """Slots that a step of the loop and its start take on a core that nobody has measured; a slot is a cycle."""
        raise NotImplementedError

    @classmethod
    def experiments(cls, cpu: Cpu, numerics: Numerics = PLAIN) -> Iterator[Experiment]:
        """The layers that `tune` measures the costs of the form's loops by: each of them in several regimes."""
        return iter(())

    @classmethod
    def candidates(cls, layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Self]:
        """The tiles that a layer may run with; none where the form does not apply."""
        raise NotImplementedError

    def work(self, layer: Layer, weight: WeightCounts, cpu: Cpu, l1_share: float) -> Counts:
        """The units of work of one call, over all its tiles, on one thread.

        Args:
            l1_share: how large a packed block of x may be over the L1 cache; the rest of it is fetched from beyond.
        """
        raise NotImplementedError

    def busiest_share(self, layer: Layer, cpu: Cpu, threads: int) -> float:
        """Share of the outputs of a call that the busiest of some threads computes."""
        raise NotImplementedError

    def cut(self, layer: Layer) -> tuple[int, int] | None:
        """How N is cut: its size, and vectors of a tile; None where values of the layer cannot lie in tiles."""
        return None

    def per_channel(self, layer: Layer, numbers: np.ndarray, cpu: Cpu) -> Constant:
        """One number for each channel [groups * M], such as biases or scales, as the kernel reads them."""
        return Constant(numbers)

    def pack(self, layer: Layer, bias: np.ndarray, cpu: Cpu) -> tuple[Constant, ...]:
        """The weight in the format of the kernel, and the bias."""
        raise NotImplementedError

    @property
    def zeros(self) -> tuple[int, int]:
        """Rows and columns of w that are zero together, for all of them to be skipped."""
        return 1, 1

    @property
    def name(self) -> str:
        """A word for it, such as u4k128r7."""
        splits = f"s{self.splits}" if self.splits > 1 else ""
        return f"u{self.vectors}k{self.k_block}r{self.rows}{splits}"

    @property
    def words(self) -> str:
        """The form and its tile, for people."""
        rows = f"{self.rows} rows x " if self.rows > 1 else ""
        return f"dense, {rows}{counted(self.vectors)}{self.ends}"

    @property
    def ends(self) -> str:
        """The end of `words`: how K is cut, and what runs in parallel."""
        return f", K {self.k_block}" + (f", {self.splits} splits" if self.splits > 1 else "")


@dataclass(frozen=True)
class Experiment:
    """A layer y[M, N] = w[M, K] @ x[K, N] and how to compute it.

    `window` is 1 for a pointwise convolution, 3 for one over a square map of `size` columns, and 0 for a linear layer
    of a single column. Experiments of one `chain` are computed one after the other, each on what the one before gave.
    `m` and `channels` count single channels, also where they lie in quads.
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
    numerics: Numerics = PLAIN


def counted(vectors: int) -> str:
    """One vector, or several vectors."""
    return f"{vectors} vector" + ("s" if vectors > 1 else "")
