"""What a candidate has to do on a layer, counted exactly, and what that costs by a calibration."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from functools import partial

from edgesparse.calibration import L1_SHARE, Calibration, Loop
from edgesparse.forms.cut import Narrow, Run, Squares, runs, tile_count, tile_width
from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Plane
from edgesparse.graph.layers import Layer
from edgesparse.graph.ops import Weighted
from edgesparse.numerics import Numerics
from edgesparse.schedule.candidates import MOST_ROWS, TRANSFORMED, Candidate
from edgesparse.schedule.weight import WeightCounts
from edgesparse.targets import Target

STEP, START = "step", "start"
Key = str | tuple[Loop, str]
"""A unit of work: a field of `Costs`, or the step or start of a loop."""

Work = Mapping[Key, float]
"""How many units of each kind; reading weights is counted in KiB."""

Counts = defaultdict[Key, float]

INDEX_BYTES = 2
EXPONENTIAL = frozenset({"elu", "gelu", "gelu_tanh", "sigmoid", "swish", "tanh"})
TRANSFORM_FMAS = 50  # multiply-adds that take as long as one transform of a vector: 32 additions, 32 loads and stores
TRANSPOSED_ROW = 2  # stores of a piece that take as long as transposing a row of a few columns and storing it
SHARED_KIB_NS = 6.0  # more for weights that all cores read again from a cache they share; measured on two cores, Zen 4
CACHE_SHARE = 0.75  # of a cache that data may take before it is evicted by what else passes through


def work(op: Weighted, weight: WeightCounts, candidate: Candidate, target: Target, l1_share: float = L1_SHARE) -> Work:
    """The units of work of one call, over all its tiles, on one thread.

    Args:
        l1_share: how large a packed block of x may be over the L1 cache; the rest of it is fetched from beyond.
    """
    layer = op.layer
    plane, lanes = layer.plane, target.lanes(layer.numerics.x)
    if candidate.tile.square > 1:
        counts = _square_work(layer, candidate, target)
    elif candidate.tile.columns:
        counts = _narrow_work(layer, candidate, target)
    else:
        count = _vector_work if layer.is_vector else _tiled_work
        counts = count(layer, weight, candidate, target)
        counts["far_vector_ns"] *= _far_share(layer, candidate.tile, target, l1_share)
    activation = op.fusion.activation
    if activation is not None and activation.name in EXPONENTIAL:
        counts["activation_vector_ns"] = plane.batch * plane.groups * plane.m * plane.n / lanes
    return counts


def time_us(units: Work, calibration: Calibration, share: float = 1.0) -> float | None:
    """Predicted microseconds of one call; None where the calibration does not know a loop of it.

    Args:
        share: of the call that the busiest thread does; below 1, others read weights at the same time.
    """
    costs = vars(calibration.costs)
    total = 0.0 if share == 1.0 else SHARED_KIB_NS * units.get("weight_again_kib_ns", 0.0)
    for key, count in units.items():
        if isinstance(key, str):
            total += costs[key] * count
            continue
        loop = calibration.loop(key[0])
        if loop is None:
            return None
        total += (loop.step_ns if key[1] == STEP else loop.start_ns) * count
    call = calibration.costs.call_ns
    return (call + (total - call) * share) / 1e3


def busiest_share(plane: Plane, numerics: Numerics, candidate: Candidate, target: Target, threads: int) -> float:
    """Share of the outputs of a call that the busiest of some threads computes: who is done helps the others."""
    tile, lanes = candidate.tile, target.lanes(numerics.x)
    copies = plane.batch * plane.groups * tile.splits
    if tile.square > 1:
        cut = Squares(plane, tile.vectors, lanes)
        places, first, last = cut.blocks, cut.rows, cut.last_rows
    elif tile.columns:
        narrow = Narrow(plane, tile, lanes)
        places, copies, first = tile.splits, plane.batch * plane.groups * narrow.panels, narrow.share
        last = max(0, narrow.steps - (places - 1) * first)
    else:
        sizes = [run.size for run in runs(plane, tile, lanes)]
        places, first, last = tile_count(plane, tile, lanes), sizes[0], sizes[-1]
    full = copies * (places - 1)
    busy = [first * ((full + thread) // threads) for thread in range(threads)]  # ascending: a heap
    for _ in range(copies):
        heapq.heapreplace(busy, busy[0] + last)
    return max(busy) / sum(busy)


def _tiled_work(layer: Layer, weight: WeightCounts, candidate: Candidate, target: Target) -> Counts:
    plane, numerics, tile = layer.plane, layer.numerics, candidate.tile
    lanes, value_bytes = target.lanes(numerics.x), numerics.w.size_bytes
    blocks, units = -(-plane.k // tile.k_block), -(-plane.m // tile.rows)
    if candidate.kernel == "dense":
        steps = float(plane.k * units)
        size_bytes, reads = value_bytes * plane.groups * plane.k * units * tile.rows, 0.0
    else:
        packed = weight.steps(tile)
        entries = packed * (tile.rows // tile.block[0]) * tile.chunk
        steps = packed / plane.groups
        size_bytes = entries * (value_bytes * tile.block[0] * tile.block[1] + INDEX_BYTES)
        reads = entries / plane.groups * tile.block[1]
    images = plane.batch * plane.groups
    first, *last = runs(plane, tile, lanes)
    places = tile_count(plane, tile, lanes)
    counts = Counts(float)
    for run, number in ((first, places - len(last)), *((run, 1) for run in last)):
        copies, vectors = number * images, run.vectors(lanes)
        loop = Loop(candidate.kernel, tile.block, vectors, tile.rows, tile.chunk, str(numerics))
        counts[loop, STEP] += copies * steps
        counts[loop, START] += copies * blocks * units
        counts["pack_row_ns"] += copies * tile.splits * plane.k
        counts["pack_vector_ns"] += copies * tile.splits * plane.k * _pack_vectors(run, lanes)
        counts["partial_vector_ns"] += copies * (blocks - 1) * plane.m * vectors
        counts["store_piece_ns"] += copies * plane.m * (run.size % lanes).bit_count()
        counts["far_vector_ns"] += copies * reads * vectors
    counts["tile_ns"] = images * places * tile.splits
    _count_memory(counts, layer, size_bytes, places, target)
    return counts


def _count_memory(counts: Counts, layer: Layer, weight_bytes: float, places: int, target: Target) -> None:
    """What a call moves between its kernel and far caches: x, y, and the weights for each of `places` of an image."""
    plane, numerics = layer.plane, layer.numerics
    counts["call_ns"] = 1
    y_size = plane.batch * plane.groups * plane.m * plane.n
    values_bytes = numerics.x.size_bytes * plane.x_size + numerics.y.size_bytes * y_size
    if values_bytes > target.l2_bytes * CACHE_SHARE:
        counts["far_kib_ns"] = values_bytes / 1024
    counts["weight_kib_ns"] = weight_bytes / 1024
    if weight_bytes > target.l2_bytes * CACHE_SHARE:
        counts["weight_again_kib_ns"] = (places * plane.batch - 1) * weight_bytes / 1024


def handed_over(layer: Layer, units: Work, target: Target) -> Work:
    """The work of a call whose output is read, range by range, from the cache that it is written to."""
    x_bytes = layer.numerics.x.size_bytes * layer.plane.x_size
    far = x_bytes / 1024 if x_bytes > target.l2_bytes * CACHE_SHARE else 0.0
    return {**units, "far_kib_ns": far}


def _square_work(layer: Layer, candidate: Candidate, target: Target) -> Counts:
    """Minimal filtering: the steps of the dense loop for each product, and transforms that cost as much as some steps.

    Vectors of half the lanes or fewer take half the time: cores of many lanes have units of half as many.
    Loops of more rows than calibrations know cost as much a row as those of the most that they know.
    """
    plane, tile, lanes = layer.plane, candidate.tile, target.lanes(layer.numerics.x)
    squares = Squares(plane, tile.vectors, lanes)
    channels, panels = plane.k // 9, -(-plane.m // tile.rows)
    rows = min(tile.rows, MOST_ROWS)
    counts = Counts(float)
    loop = partial(Loop, "dense", (1, 1), rows=rows, numerics=str(layer.numerics))
    transform = TRANSFORM_FMAS / (2 if squares.step <= lanes // 2 else 1)
    for number, height in ((squares.blocks - 1, squares.rows), (1, squares.last_rows)):
        copies = number * plane.batch
        starts = copies * TRANSFORMED * panels * tile.rows / rows
        chunks = squares.chunks(height)
        for vectors in chunks:
            counts[loop(vectors=vectors), STEP] += starts * channels
            counts[loop(vectors=vectors), START] += starts
        if 0 < height * squares.width % lanes <= lanes // 2:
            counts[loop(vectors=1), STEP] -= starts * channels / 2
        transforms = copies * height * len(squares.starts) * (channels * tile.splits + plane.m)
        counts[loop(vectors=chunks[0]), STEP] += transforms * transform / (chunks[0] * rows)
    counts["tile_ns"] = plane.batch * squares.blocks * tile.splits
    weight_bytes = layer.numerics.w.size_bytes * TRANSFORMED * channels * panels * tile.rows
    _count_memory(counts, layer, weight_bytes, squares.blocks, target)
    return counts


def _narrow_work(layer: Layer, candidate: Candidate, target: Target) -> Counts:
    """Lanes over M: the dense loop with columns for rows."""
    plane, numerics = layer.plane, layer.numerics
    cut = Narrow(plane, candidate.tile, target.lanes(numerics.x))
    images = plane.batch * plane.groups
    starts = images * cut.panels * cut.steps
    loop = Loop("dense", (1, 1), cut.tile.vectors, cut.tile.columns, numerics=str(numerics))
    counts = Counts(float)
    counts[loop, STEP], counts[loop, START] = starts * plane.k, starts * cut.blocks
    counts["partial_vector_ns"] = starts * (cut.blocks - 1) * cut.tile.vectors * cut.tile.columns
    counts["store_piece_ns"] = images * cut.steps * plane.m * TRANSPOSED_ROW
    counts["tile_ns"] = cut.tiles
    weight_bytes = numerics.w.size_bytes * plane.groups * cut.panels * cut.rows * plane.k
    _count_memory(counts, layer, weight_bytes, cut.tile.splits, target)
    return counts


def _vector_work(layer: Layer, weight: WeightCounts, candidate: Candidate, target: Target) -> Counts:
    """Every weight is read once: a step's cost has that in it."""
    plane, vectors = layer.plane, candidate.tile.vectors
    if candidate.kernel == "dense":
        starts = -(-plane.m // (vectors * target.lanes(layer.numerics.x)))
        steps = plane.k * starts
    else:
        starts, steps = plane.m, weight.chains
    loop = Loop(f"vector_{candidate.kernel}", (1, 1), vectors, 1, numerics=str(layer.numerics))
    counts = Counts(float)
    counts["call_ns"], counts[loop, STEP], counts[loop, START] = 1, steps, starts
    return counts


def _pack_vectors(run: Run, lanes: int) -> int:
    """Vectors that copy one channel of a run."""
    return sum(-(-columns // lanes) for columns in run.pieces)


def _far_share(layer: Layer, tile: Tile, target: Target, l1_share: float) -> float:
    """Share of the packed x block that does not stay in the L1 cache."""
    width = tile_width(layer.plane, tile, target.lanes(layer.numerics.x))
    block_bytes = layer.numerics.x.size_bytes * min(layer.plane.k, tile.k_block) * width
    return max(0.0, 1.0 - l1_share * target.l1d_bytes / block_bytes)
