"""How fast a device reads its main memory, measured there by `esrun --serve`."""

from __future__ import annotations

from collections.abc import Sequence

from edgesparse.devices.lines import OWNER, ask
from edgesparse.devices.pipe import Pipe
from edgesparse.errors import MeasureError

TIMES_CACHE = 4
"""How many times the last cache a buffer holds, of which little is left in it when it is read again."""

LEAST_TIMES = 2
LEAST_BYTES, MOST_BYTES = 1 << 26, 1 << 30
MOST_THREADS = 64
MILLISECONDS = 500
RANGE = 10**6, 10**14
"""Bytes a second that are believed."""


def buffer_bytes(cache_bytes: int, available_bytes: int | None) -> int | None:
    """How large a buffer shows the main memory; None where so much cannot be had.

    Args:
        cache_bytes: of the last cache.
        available_bytes: of memory, of which half is taken at most.
    """
    room = MOST_BYTES if available_bytes is None else min(MOST_BYTES, available_bytes // 2)
    size = min(max(LEAST_BYTES, TIMES_CACHE * cache_bytes), room)
    return size if size >= max(LEAST_TIMES * cache_bytes, 1 << 20) else None


def measured(pipe: Pipe, size: int, threads: int, cores: Sequence[int], lock: str) -> int:
    """Bytes a second that threads read of such a buffer.

    Args:
        pipe: to a program that has said hello.
        cores: the numbers of those that they run on; any, without.
        lock: a file there that only one process has while it measures.

    Raises: MeasureError: it cannot be measured now, or the pipe breaks.
    """
    request = {"do": "bandwidth", "bytes": size, "threads": threads, "milliseconds": MILLISECONDS}
    request |= {"lock": lock, "owner": OWNER}
    told = ask(pipe, request | ({"cores": [*cores]} if cores else {})).get("bytes_per_s")
    if not isinstance(told, int) or not RANGE[0] <= told <= RANGE[1]:
        raise MeasureError(f"{pipe.name}: said that it reads {str(told)[:40]!r} bytes a second, which cannot be")
    return told
