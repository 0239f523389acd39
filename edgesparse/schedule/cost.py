"""What a tile has to do on a layer, counted exactly, and what that costs by a cost table."""

from __future__ import annotations

from edgesparse.devices.costs import L1_SHARE, CostTable
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.caches import FITS
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import STEP, Work
from edgesparse.graph.layers import Layer
from edgesparse.graph.ops import Weighted

EXPONENTIAL = frozenset({"elu", "gelu", "gelu_tanh", "sigmoid", "swish", "tanh"})
SHARED_KIB_NS = 6.0  # extra, for weights that all cores read again from a shared cache; measured on two cores, Zen 4


def work(op: Weighted, weight: WeightCounts, tile: Tile, cpu: Cpu, l1_share: float = L1_SHARE) -> Work:
    """The units of work of one call, over all its tiles, on one thread, with the activation that the layer absorbs.

    Args:
        l1_share: how large a packed block of x may be over the L1 cache; the rest of it is fetched from beyond.
    """
    layer, activation = op.layer, op.fusion.activation
    counts = tile.work(layer, weight, cpu, l1_share)
    if activation is not None and activation.name in EXPONENTIAL:
        plane = layer.plane
        vectors = plane.batch * plane.groups * plane.m * plane.n / cpu.lanes(layer.numerics.x)
        counts["activation_vector_ns"] = vectors
    return counts


def time_us(units: Work, table: CostTable, share: float = 1.0) -> float | None:
    """Predicted microseconds of one call; None where the cost table does not know a loop of it.

    Args:
        share: of the call that the busiest thread does; below 1, others read weights at the same time.
    """
    costs = vars(table.costs)
    total = 0.0 if share == 1.0 else SHARED_KIB_NS * units.get("weight_again_kib_ns", 0.0)
    for key, count in units.items():
        if isinstance(key, str):
            total += costs[key] * count
            continue
        loop = table.loop(key[0])
        if loop is None:
            return None
        total += (loop.step_ns if key[1] == STEP else loop.start_ns) * count
    call = table.costs.call_ns
    return (call + (total - call) * share) / 1e3


def handed_over(layer: Layer, units: Work, cpu: Cpu) -> Work:
    """The work of a call whose output is read, range by range, from the cache that it is written to."""
    x_bytes = layer.numerics.x.size_bytes * layer.plane.x_size
    far = x_bytes / 1024 if x_bytes > cpu.l2_bytes * FITS else 0.0
    return {**units, "far_kib_ns": far}
