"""Geometry of weighted layers: how a convolution or linear layer becomes y[M, N] = w[M, K] @ x[K, N].

Counts and strides are elements. Nothing here knows a target or a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.plan import Tile


@dataclass(frozen=True)
class Window:
    """A 2-D convolution window over images [batch, channels, height, width]; 1-D uses height 1."""

    batch: int
    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]  # rows above, columns to the left
    out_height: int
    out_width: int

    @property
    def is_pointwise(self) -> bool:
        """Every output reads the input at its own position: no padding, no phases needed."""
        same = (self.out_height, self.out_width) == (self.height, self.width)
        return self.kernel == (1, 1) and self.strides == (1, 1) and self.pads == (0, 0) and same

    @property
    def name(self) -> str:
        """A word for it, such as 3x3_c64."""
        return "{}x{}_c{}".format(*self.kernel, self.channels)

    @property
    def _taps(self) -> list[tuple[int, int]]:
        """Row and column of each tap, dilation applied, in row-major order of the window."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return [(i * dh, j * dw) for i in range(kh) for j in range(kw)]

    @property
    def phase_axes(self) -> tuple[list[int], list[int]]:
        """The phases of rows and of columns that some tap reads, ascending."""
        (kh, kw), (dh, dw), (sh, sw) = self.kernel, self.dilations, self.strides
        return sorted({i * dh % sh for i in range(kh)}), sorted({j * dw % sw for j in range(kw)})

    @property
    def phases(self) -> list[tuple[int, int]]:
        """Every pair of a row phase and a column phase, in the order of the planes."""
        rows, columns = self.phase_axes
        return [(row, column) for row in rows for column in columns]

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of every phase plane."""
        sh, sw = self.strides
        rows = max(r // sh for r, _ in self._taps) + self.out_height
        return rows, max(c // sw for _, c in self._taps) + self.out_width

    @property
    def channel_size(self) -> int:
        """Elements of all the phase planes of a channel."""
        height, width = self.plane
        return len(self.phases) * height * width

    def offsets(self, channels: int) -> np.ndarray:
        """Element offset of each k = (channel, tap) of a group of `channels`, as int32."""
        sh, sw = self.strides
        height, pitch = self.plane
        taps = [(self.phases.index((r % sh, c % sw)) * height + r // sh) * pitch + c // sw for r, c in self._taps]
        offsets = np.arange(channels)[:, None] * self.channel_size + np.array(taps)
        return np.asarray(offsets.ravel(), np.int32)


@dataclass(frozen=True)
class Plane:
    """Geometry of one layer; counts are elements.

    An output position (row, column) reads x at row * pitch + column, plus the offset of k, plus the strides
    of its image and group.
    """

    batch: int
    groups: int
    m: int  # output channels a group
    k: int  # input channels a group times window
    height: int
    width: int
    pitch: int
    x_size: int
    x_batch_stride: int
    x_group_stride: int

    @property
    def n(self) -> int:
        """Output positions of one image."""
        return self.height * self.width

    @property
    def name(self) -> str:
        """A word for its size."""
        return f"m{self.m}k{self.k}n{self.n}"


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
