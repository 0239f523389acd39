"""What chosen layers share: kernels with depthwise convolutions, and values that stay in tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgesparse.devices.cpu import Cpu
from edgesparse.graph.ops import Depthwise, Graph
from edgesparse.plan import LayerPlan, Plan
from edgesparse.schedule.joining import joined_splits, joins
from edgesparse.schedule.tiling import tiled_values


def arrange(graph: Graph, layers: Mapping[str, LayerPlan], cpu: Cpu, *, join: bool = True, tile: bool = True) -> Plan:
    """The plan of a graph whose weighted layers run by these, by node name.

    Args:
        join: let layers that hand large values to a depthwise convolution run in one kernel with it.
        tile: let values stay in tiles between layers that cut them alike.
    """
    planned, joined = dict(layers), dict[str, Depthwise]()
    for op, found in joins(graph).items() if join else ():
        name = op.layer.name
        splits = joined_splits(op, planned[name], found, cpu)
        if splits is not None:
            planned[name] = replace(planned[name], tile=replace(planned[name].tile, splits=splits), joined=found.name)
            joined[name] = found
    return Plan(graph, planned, joined, tiled_values(graph, planned, cpu) if tile else {})
