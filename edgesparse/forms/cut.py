"""How N is cut into tiles of neighbouring columns. Counts are elements."""

from __future__ import annotations

from dataclasses import dataclass

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


def _sizes(plane: Plane, vectors: int, lanes: int) -> tuple[int, int, int]:
    """Tiles of full size, the size, and that of the last tile where it differs (else 0).

    A rest of at most half a vector joins the tile before it, in one register more.
    """
    size = vectors * lanes
    whole, rest = divmod(plane.n, size)
    if whole and 0 < rest <= lanes // 2:
        return whole - 1, size, size + rest
    return whole, size, rest


def tile_count(plane: Plane, vectors: int, lanes: int) -> int:
    """Runs that an output plane is cut into."""
    whole, _, last = _sizes(plane, vectors, lanes)
    return whole + (last > 0)


def runs(plane: Plane, vectors: int, lanes: int) -> list[Run]:
    """The run of every tile but the last, and that of the last where it differs."""
    whole, size, last = _sizes(plane, vectors, lanes)
    full = [_run(plane, range(0, whole * size, size), size)] if whole else []
    return full + ([_run(plane, range(whole * size, plane.n, plane.n), last)] if last else [])


def tile_width(plane: Plane, vectors: int, lanes: int) -> int:
    """Elements of a row of the packed x block: the scale of sparse indices."""
    whole, size, last = _sizes(plane, vectors, lanes)
    return -(-max(size if whole else 0, last) // lanes) * lanes


def _run(plane: Plane, starts: range, size: int) -> Run:
    longest: list[int] = []
    for start in dict.fromkeys(start % plane.width for start in starts):
        ends = range(plane.width, start + size + plane.width, plane.width)
        pieces = [min(end, start + size) - max(end - plane.width, start) for end in ends]
        longest += [0] * (len(pieces) - len(longest))
        longest = [max(pair) for pair in zip(longest, pieces + [0] * len(longest), strict=False)]
    return Run(size, tuple(longest))
