"""What opening and running a model adds to the process that it is timed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesparse.measure.figure import Figure, Origin

_UNIT = "bytes"
_HOW = "a new process, from after the imports and the inputs to after three inferences"
_SOURCES = {
    "peak": f"growth of the resident set to its peak (VmHWM): {_HOW}",
    "mapped": f"growth of resident file pages (RssFile): {_HOW}",
    "anonymous": f"growth of resident anonymous memory (RssAnon): {_HOW}",
}


@dataclass(frozen=True)
class Memory:
    """Resident memory that a model adds: the peak, and what is mapped from files or anonymous at the end.

    Mapped pages are shared between processes, and given back under pressure.
    """

    peak: Figure
    mapped: Figure
    anonymous: Figure

    @classmethod
    def of(cls, meters: Mapping[str, float]) -> Memory:
        """What a session's meters tell of it."""
        return cls(**{name: _figure(meters.get(f"{name}_bytes"), how) for name, how in _SOURCES.items()})


def _figure(value: float | None, how: str) -> Figure:
    if value is None:
        return Figure.unavailable(_UNIT, "this system has no /proc/self/status")
    return Figure(value, _UNIT, Origin.MEASURED, how)
