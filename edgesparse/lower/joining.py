"""Which depthwise convolutions join the layer that writes what they read.

The two then run in one kernel, range of channels by range of channels (`kernels/tiles.py`). That pays where the output
of the layer is too large for the cache that it would be read from, and where packing x again for every range costs
less than that: where the layer has far more rows than columns, as the expanding one of an inverted residual.

Source: Sandler et al. 2018, "MobileNetV2", arXiv:1801.04381, section 5.1, for the ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgesparse.lower.fuse import only_reader
from edgesparse.lower.nodes import tensor
from edgesparse.lower.planned import Convolved, Planned
from edgesparse.targets import Target

KEPT_SHARE = 0.8  # of the L2 cache, that a value may take to be found there by who reads it
RANGE_SHARE = 0.5  # ... that a range of it may take, between all else that passes


def join(planned: Planned, convolved: Mapping[ir.Node, Convolved], target: Target) -> Planned:
    """The layer with the depthwise convolution that alone reads it, where that pays; else as it is.

    Args: convolved: every depthwise convolution of the graph, by its node.
    """
    reader = only_reader(planned.fusion.output)
    found = None if reader is None else convolved.get(reader)
    if found is None or not _can_join(planned, found):
        return planned
    plane, tile = planned.layer.plane, planned.plan.tile
    if tensor(planned.fusion.output).size_bytes <= KEPT_SHARE * target.l2_bytes:
        return planned
    units = -(-plane.m // tile.rows)
    unit_bytes = planned.plan.numerics.y.size_bytes * tile.rows * plane.n
    most_units = int(RANGE_SHARE * target.l2_bytes) // unit_bytes
    splits = next(
        (n for n in range(target.cores, units + target.cores, target.cores) if -(-units // n) <= most_units), None
    )
    if splits is None or splits * plane.k > plane.m:
        return planned
    return replace(planned, plan=replace(planned.plan, tile=replace(tile, splits=splits)), joined=found)


def _can_join(planned: Planned, convolved: Convolved) -> bool:
    residuals = planned.fusion.residual, convolved.fusion.residual
    return planned.cut is not None and residuals == (None, None) and convolved.multiplier == 1
