"""Choose, for every weighted layer, dense or sparse and the tile.

Costs are counted in slots of the load unit, for one row of w over one output plane. Cores of this class issue as
many loads as multiply-adds in a cycle: the dense kernel is bound by its multiply-adds, the sparse one by loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import log2

import onnx_ir as ir

from edgesparse.geometry import Plane, runs, tile_count, tile_width
from edgesparse.layers import Layer, layers
from edgesparse.plan import LayerPlan, Tile
from edgesparse.targets import Target

BLOCKS = ((1, 1), (2, 1), (4, 1), (1, 4))
INDEX_RANGE = 1 << 16  # sparse indices of a K block fit uint16
VECTOR_BREAK_EVEN = 0.4
FMA_LATENCY = 8  # multiply-adds in flight that keep the units busy
LOOP_EXIT = 12  # slots lost where the loop over the nonzeros of a row ends
L2_PENALTY = 0.1  # share that loads of x take longer for each doubling of its block over the L1 cache
SPARSE_OVERHEAD = 1.3  # measured over counted slots


@dataclass(frozen=True)
class _Cost:
    """Slots of a row: fixed + per_nonzero * nonzeros of the row."""

    fixed: float
    per_nonzero: float

    def at(self, nonzeros: float) -> float:
        return self.fixed + self.per_nonzero * nonzeros


def plan(model: ir.Model, target: Target) -> dict[str, LayerPlan]:
    """A plan for each weighted layer of a normalised model, by node name."""
    return {layer.name: plan_layer(layer, target) for layer in layers(model)}


def plan_layer(layer: Layer, target: Target) -> LayerPlan:
    """Compare the best dense and the best sparse tile."""
    plane, density = layer.plane, layer.density
    if layer.is_vector:
        return _plan_vector(layer)
    dense = min(_dense_tiles(plane, target), key=lambda tile: _dense_cost(plane, tile, target))
    share = {block: layer.kept(block) for block in BLOCKS}

    def sparse_slots(tile: Tile) -> float:
        return _sparse_cost(plane, tile, target).at(share[tile.block] * plane.k)

    sparse = min(_sparse_tiles(plane, target), key=sparse_slots)
    dense_slots, cost = _dense_cost(plane, dense, target), _sparse_cost(plane, sparse, target)
    fill = share[sparse.block] / density if density else 1.0
    break_even = min(1.0, max(0.0, (dense_slots - cost.fixed) / (cost.per_nonzero * plane.k * fill)))
    kernel = "sparse" if density < break_even else "dense"
    comparison = "below" if kernel == "sparse" else "not below"
    reason = f"density {density:.2f} is {comparison} the break-even {break_even:.2f}"
    tile = sparse if kernel == "sparse" else dense
    m, n = plane.groups * plane.m, plane.batch * plane.n
    return LayerPlan(layer.name, layer.node.op_type, m, plane.k, n, density, kernel, tile, break_even, reason)


def _plan_vector(layer: Layer) -> LayerPlan:
    """One column: both kernels are bound by reading the weight, which costs a nonzero 6 bytes, a weight 4."""
    plane, density = layer.plane, layer.density
    kernel = "sparse" if density < VECTOR_BREAK_EVEN else "dense"
    comparison = "below" if kernel == "sparse" else "not below"
    reason = f"one column; density {density:.2f} is {comparison} the break-even {VECTOR_BREAK_EVEN:.2f}"
    tile = Tile(1, plane.k)
    op = layer.node.op_type
    return LayerPlan(layer.name, op, plane.m, plane.k, 1, density, kernel, tile, VECTOR_BREAK_EVEN, reason)


def _dense_tiles(plane: Plane, target: Target) -> Iterator[Tile]:
    """Accumulators fill the register file, less one x vector a column group and two for weights."""
    for vectors in range(1, (7 if target.registers >= 32 else 3) + 1):
        rows = min((target.registers - 2 - vectors) // vectors, 8, plane.m)
        yield Tile(vectors, min(plane.k, 256), rows, _splits(plane, vectors, -(-plane.m // rows), target))


def _sparse_tiles(plane: Plane, target: Target) -> Iterator[Tile]:
    accumulators = target.registers - 4
    for vectors, block in product(range(1, (13 if target.registers >= 32 else 7) + 1), BLOCKS):
        reach = INDEX_RANGE // tile_width(plane, Tile(vectors, 1), target.lanes)
        sizes = {min(size, plane.k, reach) for size in (64, 128, 256, 512, plane.k)}
        for rows, k_block in product((1, 2, 4, 8), sizes):
            fits = rows * (vectors + 1) <= accumulators and rows % block[0] == 0
            if fits and plane.k % block[1] == 0 and k_block % block[1] == 0:
                yield Tile(vectors, k_block, rows, _splits(plane, vectors, -(-plane.m // rows), target), block)


def _splits(plane: Plane, vectors: int, units: int, target: Target) -> int:
    """Ranges of M, so that every core has a tile."""
    tiles = plane.batch * plane.groups * tile_count(plane, Tile(vectors, 1), target.lanes)
    return max(1, min(-(-target.cores // tiles), units))


def _run_vectors(plane: Plane, tile: Tile, lanes: int) -> list[int]:
    """Registers of each tile over one output plane."""
    first, *last = (run.vectors(lanes) for run in runs(plane, tile, lanes))
    return [first] * (tile_count(plane, tile, lanes) - len(last)) + last


def _dense_cost(plane: Plane, tile: Tile, target: Target) -> float:
    slots = 0.0
    for vectors in _run_vectors(plane, tile, target.lanes):
        accumulators = vectors * tile.rows
        slots += max(accumulators, vectors + tile.rows, FMA_LATENCY) / tile.rows
    padding = -(-plane.m // tile.rows) * tile.rows / plane.m
    return slots * plane.k * padding


def _sparse_cost(plane: Plane, tile: Tile, target: Target) -> _Cost:
    """A nonzero is an index, a value and a load for each multiply-add; a K block, its partial sums."""
    blocks = -(-plane.k // tile.k_block)
    fixed = per_nonzero = 0.0
    for vectors in _run_vectors(plane, tile, target.lanes):
        doublings = max(0.0, log2(tile.k_block * vectors * target.lanes * 4 / target.l1d_bytes))
        height, depth = tile.block
        loads = vectors * (1 + L2_PENALTY * doublings) / height + 1 / depth / height + 0.5
        latency = FMA_LATENCY / tile.rows
        per_nonzero += max(loads, vectors, latency) * SPARSE_OVERHEAD
        fixed += blocks * LOOP_EXIT / tile.rows + (blocks - 1) * 3 * vectors
    return _Cost(fixed, per_nonzero)
