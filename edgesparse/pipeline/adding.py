"""Write the target of a board from what it says of itself."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgesparse.devices import bandwidth, describing, targets
from edgesparse.devices.cores import of_one_kind, ranges, require_cores
from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.targets import Target
from edgesparse.errors import TargetError, first_few
from edgesparse.isa import ISAS
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Progress, near_names, silent
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.kinds import require_kinds
from edgesparse.signatures import TARGET
from edgesparse.tables import Note, Part, Report, Table, bytes_text

UNKNOWN = "unknown"
REPORTED, MEASURED, UNREPORTED = "reported", "measured", "not reported"
ENDING = ".toml"
SHOWN = 8  # of the features that are not used
COMPUTING = ("amx", "avx", "asimd", "bf16", "fphp", "i8mm", "sme", "sve")
"""How the kernel's names of features begin that compute on vectors or matrices."""


@dataclass(frozen=True, repr=False)
class AddReport(Report):
    """The target that was written to `file`, for cores of a device by their numbers.

    `assumed` has fields of its CPU that the device did not tell, each with the target that they were taken from.
    """

    file: Path
    on: str
    target: Target
    device: DeviceFacts
    cores: tuple[int, ...]
    assumed: dict[str, str] = field(default_factory=dict)
    stale_costs: Path | None = None  # a cost table of a target that was called so before

    def parts(self) -> Iterator[Part]:
        """Each fact, and where it is from."""
        yield f"{self.file}: {self.target.summary}, as {self.on} reports it"
        yield Table(("fact", "value", "from"), [*self._rows()])
        yield from self.device.warnings(self.on)
        if self.target.cpu.bandwidth_bytes_per_s is None:
            yield Note("the memory's bandwidth is not measured: too little is free for a buffer that no cache holds")
        if self.stale_costs is not None:
            yield Note(f"{self.stale_costs} holds costs of a target of this name, from before", warning=True)
        yield f"next: edgesparse tune --target {self.file} --on {self.on}"

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        cpu = self.target.cpu
        yield "cores", f"{ranges(self.cores)} ({cpu.cores})", REPORTED
        yield "code", cpu.isa, REPORTED
        yield "core for LLVM", cpu.llvm_name, self._origin("llvm_name")
        yield "features", ", ".join(cpu.requires), self._origin("requires")
        if unused := self._unused():
            yield "features, unused", first_few(unused, SHOWN), REPORTED
        if cpu.clock_hz is None:
            yield "clock", UNKNOWN, UNREPORTED
        else:
            yield "clock", f"{cpu.clock_hz / 1e6:.0f} MHz", REPORTED
        yield "L1 of data", bytes_text(cpu.l1d_bytes), self._origin("l1d_bytes")
        yield "L2", bytes_text(cpu.l2_bytes), self._origin("l2_bytes")
        if cpu.l3_bytes is not None:
            yield "L3", bytes_text(cpu.l3_bytes), REPORTED
        if cpu.bandwidth_bytes_per_s and cpu.core_bandwidth_bytes_per_s:
            yield "memory, all cores", f"{cpu.bandwidth_bytes_per_s / 1e9:.1f} GB/s", MEASURED
            yield "memory, one core", f"{cpu.core_bandwidth_bytes_per_s / 1e9:.1f} GB/s", MEASURED
        if cpu.core is not None:
            yield "pipes of a core", f"{cpu.core.vector_pipes} for vectors", self._origin("core")

    def _unused(self) -> list[str]:
        """What the device has and code for the target does not use: what computes first."""
        told = self.device
        ours = ISAS[self.target.cpu.isa].bits.keys() & {*(told.features or ())}
        more = (ours | {*told.other_features}).difference(self.target.cpu.requires)
        return sorted(more, key=lambda name: (not name.startswith(COMPUTING), name))

    def _origin(self, name: str) -> str:
        return f"assumed as in {self.assumed[name]}" if name in self.assumed else REPORTED


@near_names
@require_kinds
def add_target(
    name: str,
    on: str,
    output: str | Path | None = None,
    *,
    cores: str | None = None,
    progress: Progress = silent,
) -> AddReport:
    """Ask a board what it is, measure its memory, and write a file with its facts, for `--target`.

    Args:
        name: what the target is to be called.
        on: the device, as for `run`.
        output: the file, which ends in .toml; NAME.toml in the working directory by default.
        cores: the ones that the target is of, which are of one kind: "big" (the default where there are several),
            "little", or numbers such as "4-7".

    Raises: EdgesparseError: the name or the file cannot be taken, the device cannot be reached, or what it says is none
        of a device that code can be made for.
    """
    from edgesparse.devices.remote import Remote

    _require_name(name)
    require_cores(cores)
    path = Path(f"{name}{ENDING}" if output is None else output)
    if path.suffix != ENDING:
        raise TargetError(f"{path}: got the ending {path.suffix!r}, expected {ENDING}, by which --target tells files")
    require_writable(path, TARGET)
    board = Remote(on, progress)
    progress(f"asking {board.name}")
    told = board.facts()
    kind, numbers = of_one_kind(cores, told.cores, board.name)
    today = datetime.date.today().isoformat()
    found = describing.described(name, told, kind, len(numbers), board.name, today)
    cpu = found.target.cpu
    size = bandwidth.buffer_bytes(max(cpu.l2_bytes, cpu.l3_bytes or 0), told.available_bytes)
    if size is not None:
        pinned = numbers if len(numbers) < sum(len(kind.numbers) for kind in told.cores) else ()
        threads = min(len(numbers), bandwidth.MOST_THREADS)
        found = describing.with_bandwidth(found, *board.bandwidth(told, size, threads, pinned), board.name)
    with written(path) as temporary:
        temporary.write_text(targets.dump(found.target), encoding="utf-8")
    costs = targets.cached_costs(found.target)
    return AddReport(
        path, on, found.target, told, numbers, dict(found.assumed), stale_costs=costs if costs.is_file() else None
    )


def _require_name(name: str) -> None:
    """Check that a target may be called so.

    Raises: TargetError: it may not.
    """
    if name in targets.names():
        raise TargetError(f"name: got {name!r}, which is a built-in target; choose another")
    if not targets.is_name(name) or name.endswith(ENDING):
        raise TargetError(f"name: got {name!r}, expected letters, digits, '.', '_' and '-', and no {ENDING}")
