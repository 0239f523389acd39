"""Sizes of the tiled kernels: what follows from a layer, its tile and the length of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from edgesparse.backends.cpu.kernel import ALIGNMENT_BYTES
from edgesparse.backends.cpu.kernels.layer import Tiled
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.cut import Run, runs, tile_count, tile_width
from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Plane
from edgesparse.numerics import Numerics


@dataclass(frozen=True)
class Work:
    """Sizes that follow from a layer, its tile and the vector length; counts are elements."""

    plane: Plane
    tile: Tile
    numerics: Numerics
    cpu: Cpu
    tiled: Tiled

    @property
    def lanes(self) -> int:
        """Elements of a full vector."""
        return self.cpu.lanes(self.numerics.x)

    @cached_property
    def runs(self) -> list[Run]:
        """What a tile computes; a second one where the last tile of a plane differs."""
        return runs(self.plane, self.tile.vectors, self.lanes)

    @property
    def places(self) -> int:
        """Tiles of one output plane."""
        return tile_count(self.plane, self.tile.vectors, self.lanes)

    @cached_property
    def width(self) -> int:
        """A row of the packed x block."""
        return tile_width(self.plane, self.tile.vectors, self.lanes)

    @property
    def blocks(self) -> int:
        """Blocks of K."""
        return -(-self.plane.k // self.tile.k_block)

    @property
    def units(self) -> int:
        """Rows, or panels of rows."""
        return -(-self.plane.m // self.tile.rows)

    @property
    def split_units(self) -> int:
        """Units of one of the ranges that M is cut into."""
        return -(-self.units // self.tile.splits)

    @property
    def pack_size(self) -> int:
        """The packed x block, where x needs packing; its last row may be copied past its end."""
        if self.tiled.x:
            return 0
        ends = [(len(run.pieces) - 1) * self.plane.width + run.pieces[-1] + self.lanes for run in self.runs]
        return min(self.plane.k, self.tile.k_block) * self.width + max(self.lanes, *ends)

    @property
    def partial_size(self) -> int:
        """Sums of the blocks so far, and those of rows that are not finished together but share words of y."""
        is_kept = self.blocks > 1 or self.numerics.y.channels > 1
        return self.split_units * self.tile.rows * self.width * self.kept_size if is_kept else 0

    @property
    def kept_size(self) -> int:
        """Elements that a partial sum takes, which may be of a wider type."""
        return self.numerics.kept.bits // self.numerics.acc.bits

    @property
    def widens(self) -> bool:
        """Blocks of K are summed on their own, and added up in a wider type."""
        return self.blocks > 1 and self.kept_size > 1

    @property
    def scratch_size(self) -> int:
        """Packed x, then partial sums, then one vector of results."""
        return self.pack_size + self.partial_size + self.lanes

    @property
    def range_start(self) -> int:
        """Where in the scratch memory a range of M lies that a joined convolution reads."""
        line = ALIGNMENT_BYTES // self.numerics.acc.size_bytes
        return -(-self.scratch_size // line) * line

    @property
    def range_size(self) -> int:
        """The outputs of a range of M, for all of N."""
        return self.split_units * self.tile.rows * self.plane.n

    @property
    def x_size(self) -> int:
        """The input of all images and groups."""
        return self.places * self.plane.k * self.width if self.tiled.x else self.plane.x_size

    @property
    def y_rows(self) -> int:
        """Rows of elements of the output, of an image and group."""
        return -(-self.plane.m // self.numerics.y.channels)

    def output_size(self, tiled: bool) -> int:
        """The output, or the residual, of all images and groups."""
        n = self.places * self.width if tiled else self.plane.n
        return self.plane.batch * self.plane.groups * self.y_rows * n

    def row_pitch(self, tiled: bool) -> int:
        """Elements between two channels of an output tile."""
        return self.width if tiled else self.plane.n

    @property
    def tiles(self) -> int:
        """Units of parallel work."""
        return self.plane.batch * self.plane.groups * self.places * self.tile.splits
