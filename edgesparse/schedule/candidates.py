"""What can be chosen: the kernels and tiles that a layer may run with on a target."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from edgesparse.calibration import Loop
from edgesparse.forms.cut import Narrow, Squares, tile_count, tile_width
from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Plane
from edgesparse.graph.layers import Layer
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.targets import Target

BLOCKS = ((1, 1), (2, 1), (4, 1), (1, 4))
INDEX_RANGE = 1 << 16  # sparse indices of a K block fit uint16
K_BLOCKS = (64, 96, 128, 192, 256, 512)
CHUNKS = (1, 4)  # entries of a row in a step of the sparse loop; more only where rows are few
DENSE_K_BLOCK = 256
MOST_ROWS = 8  # of w that are computed together
L2_SHARE = 0.8  # that the transformed x of a block of squares may take
UNEVEN = 1.1  # tiles of the busiest core over its even share, which dense layers are cut further for
WIDE = 8  # lanes, of which small maps leave enough empty to lay vectors over M
NARROW_SHARE = 0.5  # of the L1 cache, that a block of a panel of w may take where vectors lie over M
MOST_IDLE = 1.2  # rows of squares of the busiest core over its even share
TRANSFORMED = 16  # products, and elements of x, that make a square of 2x2 outputs
VECTOR_ROWS = 4  # registers that the dense kernel of a single column sums at most


@dataclass(frozen=True)
class Candidate:
    """A kernel ("dense" or "sparse") with a tile."""

    kernel: str
    tile: Tile


def dense_loops(target: Target, numerics: Numerics = PLAIN) -> Iterator[Loop]:
    """For each number of vectors the most rows of which nothing leaves the registers.

    Besides accumulators and vectors of x, LLVM keeps the weights of a step there: of all rows, where each meets several
    vectors and rows are more than those.
    """
    for vectors in range(1, (7 if target.registers >= 32 else 4) + 1):
        fitting = [
            rows
            for rows in range(1, MOST_ROWS + 1)
            if rows * vectors + vectors + (rows if rows > vectors > 1 else 1) <= target.registers
        ]
        yield Loop("dense", (1, 1), vectors, fitting[-1], numerics=str(numerics))


def sparse_loops(target: Target, numerics: Numerics = PLAIN) -> Iterator[Loop]:
    """Groups of rows whose accumulators fit the register file, besides weights and an x vector."""
    for block, rows, chunk in product(BLOCKS, (1, 2, 4, MOST_ROWS), CHUNKS):
        if rows % block[0] == 0 and (chunk == 1 or block[1] * rows <= 2):
            most = min(13 if target.registers >= 32 else 7, (target.registers - 4) // rows)
            for vectors in range(1, most + 1):
                yield Loop("sparse", block, vectors, rows, chunk, str(numerics))


def vector_loops(numerics: Numerics = PLAIN) -> Iterator[Loop]:
    """The loops of layers with a single column."""
    for vectors in range(1, VECTOR_ROWS + 1):
        yield Loop("vector_dense", (1, 1), vectors, 1, numerics=str(numerics))
    yield Loop("vector_sparse", (1, 1), 1, 1, numerics=str(numerics))


def loops(target: Target) -> list[Loop]:
    """The inner loops that a calibration has to know: it interpolates between their numbers of vectors."""
    dense = list(dense_loops(target))
    ends = {replace(loop, vectors=vectors) for loop in dense for vectors in (1, -(-loop.vectors // 2))}
    return [*sorted({*dense, *ends}), *_thinned(list(sparse_loops(target))), *vector_loops()]


def _thinned(every: list[Loop]) -> Iterator[Loop]:
    """Of many numbers of vectors, the small ones, where costs are least regular, and then every third."""
    for loop in every:
        largest = max(other.vectors for other in every if replace(other, vectors=loop.vectors) == loop)
        if loop.vectors <= 4 or loop.vectors % 3 == 1 or loop.vectors == largest:
            yield loop


def candidates(plane: Plane, numerics: Numerics, target: Target, *, is_vector: bool) -> list[Candidate]:
    """Every kernel and tile for a layer; each core gets a tile where M can be cut for that."""
    if is_vector:
        vectors = min(VECTOR_ROWS, -(-plane.m // target.lanes(numerics.x)))
        return [Candidate("dense", Tile(vectors, plane.k)), Candidate("sparse", Tile(1, plane.k))]
    forms = (_dense, _narrow, _sparse)
    return [candidate for form in forms for candidate in form(plane, numerics, target)]


def _dense(plane: Plane, numerics: Numerics, target: Target) -> Iterator[Candidate]:
    most_rows = {loop.vectors: loop.rows for loop in dense_loops(target, numerics)}
    lanes = target.lanes(numerics.x)
    for vectors in most_rows:
        widest = tile_width(plane, Tile(vectors, 1), lanes) // lanes
        if widest in most_rows:
            rows = min(most_rows[widest], plane.m)
            splits = _splits(plane, vectors, -(-plane.m // rows), lanes, target, UNEVEN)
            yield Candidate("dense", Tile(vectors, min(plane.k, DENSE_K_BLOCK), rows, splits))


def _narrow(plane: Plane, numerics: Numerics, target: Target) -> Iterator[Candidate]:
    """Lanes over M, where wide vectors over N have empty lanes, and where x and a panel of w stay in the L2 cache.

    Columns take the place of rows in the loop. Each weight is to meet several columns, each column several vectors.
    """
    lanes = target.lanes(numerics.x)
    if lanes < WIDE or plane.n % lanes == 0:
        return
    for loop in dense_loops(target, numerics):
        rows = loop.vectors * lanes
        k_block = min(plane.k, int(NARROW_SHARE * target.l1d_bytes) // (numerics.w.size_bytes * rows))
        cached_bytes = numerics.x.size_bytes * (plane.x_size // plane.batch) + numerics.w.size_bytes * plane.k * rows
        if loop.vectors == 1 or loop.vectors > -(-plane.m // lanes) or cached_bytes > L2_SHARE * target.l2_bytes:
            continue
        for columns in (c for c in range(2, loop.rows + 1) if plane.width % c == 0):
            cut = Narrow(plane, Tile(loop.vectors, k_block, columns=columns), lanes)
            splits = _even_splits(cut.tiles, target.cores, UNEVEN)
            yield Candidate("dense", replace(cut.tile, splits=min(splits, cut.steps)))


def _sparse(plane: Plane, numerics: Numerics, target: Target) -> Iterator[Candidate]:
    lanes = target.lanes(numerics.x)
    most = -(-plane.n // lanes)
    for loop in sparse_loops(target, numerics):
        depth = loop.block[1]
        if plane.k % depth or loop.rows >= 2 * plane.m or loop.vectors > most:
            continue
        reach = INDEX_RANGE // tile_width(plane, Tile(loop.vectors, 1), lanes) // depth * depth
        splits = _splits(plane, loop.vectors, -(-plane.m // loop.rows), lanes, target)
        for k_block in sorted({min(size, plane.k, reach) for size in (*K_BLOCKS, plane.k)}):
            yield Candidate("sparse", Tile(loop.vectors, k_block, loop.rows, splits, loop.block, loop.chunk))


def square_tile(layer: Layer, target: Target) -> Candidate | None:
    """The dense tile of 2x2 squares, where minimal filtering applies: a window of 3x3 at unit stride.

    Its block is the largest whose transformed x stays in the L2 cache, so that weights are seldom read again, and that
    shares rows, or else M, evenly among cores. It fills its vectors, and takes several turns of them only where a row
    of squares is wider than any loop. A single vector leaves registers for more rows than other loops have.
    """
    window, plane = layer.window, layer.plane
    steps = window and (window.kernel, window.strides, window.dilations)
    if window is None or plane.groups > 1 or steps != ((3, 3), (1, 1), (1, 1)):
        return None
    known = list(dense_loops(target, layer.numerics))
    for loop in reversed(known):
        cut = Squares(plane, loop.vectors, target.lanes(layer.numerics.x))
        first, *others = cut.chunks(cut.rows)
        transformed_bytes = TRANSFORMED * window.channels * cut.rows * cut.width * layer.numerics.acc.size_bytes
        if first < loop.vectors or (others and loop != known[-1]) or transformed_bytes > L2_SHARE * target.l2_bytes:
            continue
        if cut.blocks > 1 and -(-cut.blocks // target.cores) * cut.rows * target.cores > MOST_IDLE * cut.height:
            continue
        most = target.registers - 4 if loop.vectors == 1 else loop.rows
        panels = -(-plane.m // most)
        splits = max(1, min(-(-target.cores // (plane.batch * cut.blocks)), panels))
        return Candidate("dense", Tile(loop.vectors, plane.k, -(-plane.m // panels), splits, square=2))
    return None


def _splits(plane: Plane, vectors: int, units: int, lanes: int, target: Target, uneven: float = math.inf) -> int:
    tiles = plane.batch * plane.groups * tile_count(plane, Tile(vectors, 1), lanes)
    return min(_even_splits(tiles, target.cores, uneven), units)


def _even_splits(tiles: int, cores: int, uneven: float) -> int:
    """The fewest parts of tiles that give every core one, and the busiest no more than `uneven` times its share."""
    return next(
        splits
        for splits in range(1, cores + 1)
        if tiles * splits >= cores and -(-tiles * splits // cores) * cores <= uneven * tiles * splits
    )
