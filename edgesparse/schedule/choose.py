"""Choose, for every weighted layer, dense or sparse and the tile.

The model counts load slots: a core of this class issues as many loads as multiply-adds in a cycle, so the dense
kernel is bound by its multiply-adds and the sparse one by its loads.
"""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.geometry import Plane, cover, patches
from edgesparse.layers import Layer, layers
from edgesparse.plan import LayerPlan, Tile
from edgesparse.targets import Target

SPARSE_OVERHEAD = 1.35  # of branches and latency, over the loads alone
MAX_INDEX = 1 << 16  # sparse indices of a K block fit uint16


def plan(model: ir.Model, target: Target) -> dict[str, LayerPlan]:
    """A plan for each weighted layer of a normalised model, by node name."""
    return {layer.name: plan_layer(layer, target) for layer in layers(model)}


def plan_layer(layer: Layer, target: Target) -> LayerPlan:
    """Compare the best dense and the best sparse tile by their load slots."""
    plane, density = layer.plane, layer.density
    dense, sparse = dense_tile(plane, target), sparse_tile(plane, target)
    dense_cost, nonzero_cost = _dense_cost(plane, dense, target), _nonzero_cost(plane, sparse, target)
    break_even = min(1.0, dense_cost / nonzero_cost)
    kernel = "sparse" if density < break_even else "dense"
    comparison = "below" if kernel == "sparse" else "not below"
    reason = f"density {density:.2f} is {comparison} the break-even {break_even:.2f}"
    tile = sparse if kernel == "sparse" else dense
    op = layer.node.op_type
    m, n = plane.groups * plane.m, plane.batch * plane.n
    return LayerPlan(layer.name, op, m, plane.k, n, density, kernel, tile, break_even, reason)


def dense_tile(plane: Plane, target: Target) -> Tile:
    """Accumulators fill the register file, less one x vector a column group and two for weights."""
    best = None
    for vectors in range(1, (4 if target.registers >= 32 else 2) + 1):
        rows = min((target.registers - 2 - vectors) // vectors, 8, plane.m)
        tile = Tile(vectors, min(plane.k, 256), rows, _splits(plane, vectors, -(-plane.m // rows), target))
        cost = _dense_cost(plane, tile, target)
        if best is None or cost < best[0]:
            best = cost, tile
    assert best is not None
    return best[1]


def sparse_tile(plane: Plane, target: Target) -> Tile:
    """The width that wastes the fewest lanes for its loads, and the K block that fits the L1 cache with it."""
    best = None
    for vectors in range(1, (8 if target.registers >= 32 else 6) + 1):
        width = vectors * target.lanes
        k_block = max(32, min(int(target.l1d_bytes * 0.7) // (4 * width), MAX_INDEX // width) // 32 * 32)
        if plane.k <= k_block * 5 // 4 and plane.k * width <= MAX_INDEX:
            k_block = plane.k
        tile = Tile(vectors, k_block, 1, _splits(plane, vectors, plane.m, target))
        cost = _nonzero_cost(plane, tile, target)
        if best is None or cost < best[0]:
            best = cost, tile
    assert best is not None
    return best[1]


def _tiles(plane: Plane, vectors: int, lanes: int) -> list[int]:
    """Registers of each tile over one output plane."""
    full, *end = patches(plane, Tile(vectors, 1), lanes)
    if not end:
        return [full.vectors] * _count(plane, vectors, lanes)
    count = _count(plane, vectors, lanes)
    ends = plane.height if full.rows == 1 and full.columns < plane.width else 1
    return [full.vectors] * (count - ends) + [end[0].vectors] * ends


def _count(plane: Plane, vectors: int, lanes: int) -> int:
    shape = cover(plane, vectors * lanes, lanes)
    return shape.row_tiles * shape.column_tiles


def _splits(plane: Plane, vectors: int, units: int, target: Target) -> int:
    """Ranges of M, so that every core has a tile."""
    tiles = plane.batch * plane.groups * _count(plane, vectors, target.lanes)
    return max(1, min(-(-target.cores // tiles), units))


def _dense_cost(plane: Plane, tile: Tile, target: Target) -> float:
    """Slots for one weight over one output plane."""
    slots = sum(_tiles(plane, tile.vectors, target.lanes))
    hidden = min(1.0, tile.vectors * tile.rows / 8)  # accumulators against the latency of the multiply-add
    padding = -(-plane.m // tile.rows) * tile.rows / plane.m
    return slots * padding / hidden


def _nonzero_cost(plane: Plane, tile: Tile, target: Target) -> float:
    """Slots for one nonzero over one output plane: an index, a value, then a load for each multiply-add."""
    pairs = _tiles(plane, tile.vectors, target.lanes)
    return sum(max(v + 2, 5) for v in pairs) * SPARSE_OVERHEAD
