"""Which depthwise convolutions join the layer that writes what they read.

The two then run in one kernel, range of channels by range of channels. That pays where the output of the layer is too
large for the cache that it would be read from, and where packing x again for every range costs less than that: where
the layer has far more rows than columns, as the expanding one of an inverted residual.

Source: Sandler et al. 2018, "MobileNetV2", arXiv:1801.04381, section 5.1, for the ranges.
"""

from __future__ import annotations

from edgesparse.devices.cpu import Cpu
from edgesparse.forms.caches import HELD, SHARED
from edgesparse.graph.absorb import only_reader
from edgesparse.graph.ops import Depthwise, Graph, Weighted
from edgesparse.plan import LayerPlan
from edgesparse.schedule.tiling import bytes_of


def joins(graph: Graph) -> dict[Weighted, Depthwise]:
    """The layers that a depthwise convolution alone reads, which could run in their kernels."""
    convolved = {op.nodes[0]: op for op in graph.ops if isinstance(op, Depthwise)}
    read = ((op, convolved.get(only_reader(op.output))) for op in graph.weighted)  # type: ignore[arg-type]
    return {op: found for op, found in read if found is not None}


def joined_splits(op: Weighted, plan: LayerPlan, found: Depthwise, cpu: Cpu) -> int | None:
    """Ranges of channels for the kernel of a layer with the depthwise convolution behind it; None where it does not
    pay."""
    residuals = op.fusion.residual, found.fusion.residual
    if plan.tile.cut(op.layer) is None or residuals != (None, None) or found.multiplier > 1:
        return None
    if bytes_of(op.output) <= HELD * cpu.l2_bytes:
        return None
    plane, tile = op.layer.plane, plan.tile
    units = -(-plane.m // tile.rows)
    unit_bytes = plan.numerics.y.size_bytes * tile.rows * plane.n
    most_units = int(SHARED * cpu.l2_bytes) // unit_bytes
    for splits in range(cpu.cores, units + cpu.cores, cpu.cores):
        if -(-units // splits) <= most_units:
            return splits if splits * plane.k <= plane.m else None
    return None
