"""What a kernel has to do, in units that a cost table knows the price of."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.caches import FITS
from edgesparse.graph.layers import Layer

STEP, START = "step", "start"
Key = str | tuple[Loop, str]
"""A unit of work: a field of `Costs`, or the step or start of a loop."""

Work = Mapping[Key, float]
"""How many units of each kind; reading weights is counted in KiB."""

Counts = defaultdict[Key, float]


def count_memory(counts: Counts, layer: Layer, weight_bytes: float, places: int, cpu: Cpu) -> None:
    """What a call moves between its kernel and far caches: x, y, and the weights for each of `places` of an image."""
    plane, numerics = layer.plane, layer.numerics
    counts["call_ns"] = 1
    y_size = plane.batch * plane.groups * -(-plane.m // numerics.y.channels) * plane.n
    values_bytes = numerics.x.size_bytes * plane.x_size + numerics.y.size_bytes * y_size
    if values_bytes > cpu.l2_bytes * FITS:
        counts["far_kib_ns"] = values_bytes / 1024
    counts["weight_kib_ns"] = weight_bytes / 1024
    if weight_bytes > cpu.l2_bytes * FITS:
        counts["weight_again_kib_ns"] = (places * plane.batch - 1) * weight_bytes / 1024


def busiest(copies: int, places: int, first: int, last: int, threads: int) -> float:
    """Share of a call that the busiest of some threads computes, where those that are done help the others.

    Args:
        copies: of the places, that run after one another.
        places: tiles, of which all but the last compute `first` outputs, and it computes `last`.
    """
    full = copies * (places - 1)
    busy = [first * ((full + thread) // threads) for thread in range(threads)]  # ascending: a heap
    for _ in range(copies):
        heapq.heapreplace(busy, busy[0] + last)
    return max(busy) / sum(busy)


def even_splits(tiles: int, cores: int, uneven: float) -> int:
    """The fewest parts of tiles that give every core one, and the busiest no more than `uneven` times its share."""
    return next(
        splits
        for splits in range(1, cores + 1)
        if tiles * splits >= cores and -(-tiles * splits // cores) * cores <= uneven * tiles * splits
    )
