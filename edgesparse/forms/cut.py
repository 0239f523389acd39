"""How kernels of weighted layers cut N, or M, into tiles. Counts are elements; nothing here knows a target."""

from __future__ import annotations

from dataclasses import dataclass

from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Plane


@dataclass(frozen=True)
class Run:
    """The outputs of one tile: `size` neighbours of a plane, which may begin and end inside a row of it.

    `pieces[i]` is the most columns that the i-th of its rows has in any tile of the layer.
    """

    size: int
    pieces: tuple[int, ...]

    def vectors(self, lanes: int) -> int:
        """Registers that hold it."""
        return -(-self.size // lanes)


def _sizes(plane: Plane, tile: Tile, lanes: int) -> tuple[int, int, int]:
    """Tiles of full size, the size, and that of the last tile where it differs (else 0).

    A rest of at most half a vector joins the tile before it, in one register more.
    """
    size = tile.vectors * lanes
    whole, rest = divmod(plane.n, size)
    if whole and 0 < rest <= lanes // 2:
        return whole - 1, size, size + rest
    return whole, size, rest


def tile_count(plane: Plane, tile: Tile, lanes: int) -> int:
    """Runs that an output plane is cut into."""
    whole, _, last = _sizes(plane, tile, lanes)
    return whole + (last > 0)


def runs(plane: Plane, tile: Tile, lanes: int) -> list[Run]:
    """The run of every tile but the last, and that of the last where it differs."""
    whole, size, last = _sizes(plane, tile, lanes)
    full = [_run(plane, range(0, whole * size, size), size)] if whole else []
    return full + ([_run(plane, range(whole * size, plane.n, plane.n), last)] if last else [])


def tile_width(plane: Plane, tile: Tile, lanes: int) -> int:
    """Elements of a row of the packed x block: the scale of sparse indices."""
    whole, size, last = _sizes(plane, tile, lanes)
    return -(-max(size if whole else 0, last) // lanes) * lanes


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
class Narrow:
    """How the dense kernel with lanes over M cuts a layer: panels of rows, and steps of `tile.columns` columns of N.

    Columns of a step are neighbours in a row of the output: their number divides its width.
    """

    plane: Plane
    tile: Tile
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


def _run(plane: Plane, starts: range, size: int) -> Run:
    longest: list[int] = []
    for start in dict.fromkeys(start % plane.width for start in starts):
        ends = range(plane.width, start + size + plane.width, plane.width)
        pieces = [min(end, start + size) - max(end - plane.width, start) for end in ends]
        longest += [0] * (len(pieces) - len(longest))
        longest = [max(pair) for pair in zip(longest, pieces + [0] * len(longest), strict=False)]
    return Run(size, tuple(longest))
