"""How a value lies in memory. Each layout is one class here, and kernels ask for a value in a layout by its class."""

from __future__ import annotations

from dataclasses import dataclass

from edgesparse.graph.geometry import Window


@dataclass(frozen=True)
class Layout:
    """As ONNX lays a value out, row by row; the other layouts are its children."""


ROWS = Layout()


@dataclass(frozen=True)
class Ordered(Layout):
    """Its axes in another order, the slowest first, those of size 1 left out; [..., F] in columns is [F, N]."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Tiles(Layout):
    """[tiles, channels, width]: run after run of `size` of the `n` columns, as kernels of weighted layers pack them.

    The last run takes what is left, which may be more than `size`; what is behind it means nothing. Columns are those
    of [channels, n]: with `is_linear`, of a value [n, channels].
    """

    n: int
    size: int
    is_linear: bool


@dataclass(frozen=True)
class Planes(Layout):
    """Padded, and split into the phase planes of a window, channel by channel."""

    window: Window


@dataclass(frozen=True)
class Quads(Layout):
    """[batch, C / 4, N, 4]: four neighbouring channels of each position side by side, as dot products take them.

    `axis` is that of the channels; of a linear value [..., F] it is the last, and the batch is 1. Where 4 does not
    divide C, what fills the last quad up means nothing. `flipped` values have the highest bit of every byte flipped:
    the dot products of the target take the other signedness, and the zero point moves by 128.
    """

    axis: int
    flipped: bool


@dataclass(frozen=True)
class Within(Layout):
    """No value at all: what lies between two kernels of the operator that computes the value, by its place there."""

    path: tuple[str, ...]
