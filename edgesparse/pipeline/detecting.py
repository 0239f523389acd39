"""What a device is, and which target is for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgesparse.devices import facts as devices
from edgesparse.devices import fitting, targets
from edgesparse.devices.cores import ranges
from edgesparse.devices.facts import DeviceFacts
from edgesparse.pipeline.arguments import near_names
from edgesparse.pipeline.kinds import require_kinds
from edgesparse.tables import Part, Report, Table, bytes_text

UNKNOWN = "unknown"


@dataclass(frozen=True, repr=False)
class DetectReport(Report):
    """What a device says of itself, and the targets whose code it runs, the best first."""

    on: str | None
    device: DeviceFacts
    targets: tuple[str, ...]

    def parts(self) -> Iterator[Part]:
        """One row for each fact."""
        yield Table(("fact", "value"), [*self._rows()])
        yield from self.device.warnings(self.on or "this machine")

    def _rows(self) -> Iterator[tuple[str, str]]:
        told = self.device
        yield "model", told.model or UNKNOWN
        for kind in told.cores:
            now = f"now {kind.clock_hz / 1e6:.0f} MHz" if kind.clock_hz else ""
            governor = f"governor {kind.governor}" if kind.governor else ""
            words = (kind.name, kind.clocks, now, governor, str(kind.caches))
            yield f"cores {ranges(kind.numbers)}", ", ".join(filter(None, words))
        hot = told.temperature_c
        yield "temperature", UNKNOWN if hot is None else f"{hot:.1f} C ({told.sensor})"
        yield "held back", self._held()
        yield "memory", f"{bytes_text(told.memory_bytes)}, {bytes_text(told.available_bytes)} available"
        yield "kernel", f"Linux {told.kernel} on {told.machine}"
        yield "features", UNKNOWN if told.features is None else ", ".join(told.features) or "none that code here needs"
        yield "target", self._target()

    def _held(self) -> str:
        told = self.device
        if told.throttled is None:
            return UNKNOWN
        before = f"; since it was started: {', '.join(told.throttled_before)}" if told.throttled_before else ""
        return (", ".join(told.throttled) or "no") + before

    def _target(self) -> str:
        if not self.targets:
            return "none is built in for it; docs/targets.md says how to describe one"
        first, *others = self.targets
        return f"{first}; {', '.join(others)} would run, too" if others else first


@near_names
@require_kinds
def detect(on: str | None = None) -> DetectReport:
    """Ask a device what it is: model, cores, clocks, temperature, memory; and say which targets are for it.

    Args: on: the device, as for `run`; this machine by default.

    Raises: EdgesparseError: it cannot be reached.
    """
    from edgesparse.devices.remote import Remote

    told = devices.here() if on is None else Remote(on).facts()
    names = [target.name for target in fitting.suited(told)]
    return DetectReport(on, told, tuple([targets.HOST, *names] if on is None and names else names))
