"""What is known of kernel calls without running them: work, memory, the machine's limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.errors import TargetError
from edgesparse.pages.arena import used_bytes
from edgesparse.program import Space

if TYPE_CHECKING:
    from edgesparse.devices.cpu import Cpu
    from edgesparse.plan import Plan
    from edgesparse.program import Step

DENSE, SPARSE, OTHER = "dense", "sparse", "other"
"""Whether a kernel skips zeros, does not, or has no weights to choose for."""


@dataclass(frozen=True)
class Roof:
    """Most multiply-adds and bytes a second that a target's facts allow; None where they do not tell, and `why`."""

    multiply_adds_per_s: float | None = None
    bytes_per_s: float | None = None
    why: str = ""

    @property
    def ridge(self) -> float | None:
        """Multiply-adds for each byte, below which memory is the limit."""
        if self.multiply_adds_per_s is None or self.bytes_per_s is None:
            return None
        return self.multiply_adds_per_s / self.bytes_per_s

    def bound(self, work: Work) -> str:
        """What limits a call that touches memory once for each operand: "memory", "compute", or "" if unknown."""
        if self.ridge is None or not work.multiply_adds or not work.moved_bytes:
            return ""
        return "memory" if work.intensity < self.ridge else "compute"

    def least_us(self, work: Work) -> float | None:
        """What a call takes at the roof; None where that is unknown."""
        if self.multiply_adds_per_s is None or self.bytes_per_s is None or work.multiply_adds is None:
            return None
        return 1e6 * max(work.multiply_adds / self.multiply_adds_per_s, work.moved_bytes / self.bytes_per_s)


@dataclass(frozen=True)
class Work:
    """Multiply-adds of a kernel call, zeros left out (None: unknown), and the bytes of its operands, each once."""

    multiply_adds: float | None
    moved_bytes: int

    @property
    def intensity(self) -> float:
        """Multiply-adds for each byte."""
        return (self.multiply_adds or 0.0) / max(self.moved_bytes, 1)


@dataclass(frozen=True)
class StepFacts:
    """A kernel call. `density` is None where it has no weights, or nobody has said."""

    name: str
    op: str
    kernel: str
    kind: str
    types: str
    density: float | None
    work: Work


@dataclass(frozen=True)
class ArtifactFacts:
    """What a file holds for one target; sizes in bytes. `used_bytes` is the arena in use at each step, if known."""

    file: str
    file_bytes: int
    model: str
    target: str
    weights_bytes: int
    code_bytes: int
    arena_bytes: int
    scratch_bytes: int  # for each thread
    steps: tuple[StepFacts, ...]
    used_bytes: tuple[int, ...]
    roof: Roof


@dataclass(frozen=True)
class PlannedFacts:
    """The work of layers by name, in the order in which they run, and the machine's limits."""

    works: Mapping[str, Work] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    roof: Roof = field(default_factory=Roof)


def of_artifact(path: str | Path, kernels: Sequence[str] = (), threads: int = 1) -> ArtifactFacts:
    """What an artifact holds.

    Args:
        kernels: names of the kernels that were run, which tell the plan; its first by default.
        threads: that ran it.

    Raises: EdgesparseError: it cannot be read, or is none.
    """
    from edgesparse.package.manifest import of_plan
    from edgesparse.package.reader import read

    found = read(Path(path))
    plans = [[step.kernel for step in program.steps] for program in found.programs]
    number = plans.index(list(kernels)) if list(kernels) in plans else 0
    program, record = found.programs[number], of_plan(found.manifest, number)
    layers = record.get("layers")
    rows = {str(row.get("name")): row for row in (layers if isinstance(layers, list) else ()) if isinstance(row, dict)}
    return ArtifactFacts(
        file=Path(path).name,
        file_bytes=Path(path).stat().st_size,
        model=str(found.manifest.get("model", "?")),
        target=str(record.get("target", "?")),
        weights_bytes=len(program.weights) + len(program.indices),
        code_bytes=sum(len(image.code) for image in program.images),
        arena_bytes=sum(engine.arena_bytes for engine in program.engines),
        scratch_bytes=sum(engine.scratch_bytes for engine in program.engines),
        steps=tuple(_step(step, rows.get(step.name, {})) for step in program.steps),
        used_bytes=used_bytes(program),
        roof=_recorded_roof(record.get("target_facts"), threads),
    )


def of_plan(plan: Plan, cpu: Cpu, threads: int) -> PlannedFacts:
    """The work of the weighted and depthwise layers of a plan."""
    from edgesparse.graph.ops import Depthwise, Weighted

    works: dict[str, Work] = {}
    for op in plan.graph.ops:
        if isinstance(op, Weighted):
            plane, types, density = op.layer.plane, op.layer.numerics, op.layer.density
            copies = plane.batch * plane.groups
            kept = density if plan.layers[op.layer.name].kernel == SPARSE else 1.0
            held = types.w.size_bytes + (2 if kept < 1 else 0)
            moved = types.x.size_bytes * plane.x_size + types.y.size_bytes * copies * plane.m * plane.n
            weights = plane.groups * plane.m * plane.k * kept
            works[op.layer.name] = Work(copies * plane.m * plane.k * plane.n * kept, int(moved + weights * held))
        elif isinstance(op, Depthwise):
            window, size = op.window, op.numerics.x.size_bytes
            outputs = window.batch * window.channels * op.multiplier * window.out_height * window.out_width
            reads = window.batch * window.channels * window.height * window.width + op.weight.size
            works[op.name] = Work(outputs * prod(window.kernel), size * (reads + outputs))
    names = tuple(str(node.name) for op in plan.graph.ops for node in op.nodes)
    return PlannedFacts(works, names, roof_of(cpu, threads))


def roof_of(cpu: Cpu, threads: int) -> Roof:
    """The limits of some threads, in float32: clock times multiply-adds a cycle, and the peak of the main memory."""
    core, clock = cpu.core, cpu.clock_hz
    missing = [
        word
        for word, there in (("clock", clock), ("core's pipes", core), ("bandwidth", cpu.bandwidth_bytes_per_s))
        if not there
    ]
    if core is None or clock is None or missing:
        return Roof(why=f"the target's facts do not tell the {' and the '.join(missing)}")
    pipes = core.vector_pipes // core.fma_pipes  # 128-bit multiply-adds that start in a cycle
    peak = float(clock) * max(pipes, 1) * (128 // 32) * min(threads, cpu.cores)
    return Roof(peak, float(cpu.bandwidth_bytes_per_s or 0))


def _recorded_roof(table: Any, threads: int) -> Roof:
    from edgesparse.devices import targets

    try:
        return roof_of(targets.of_facts(table, "target_facts").cpu, threads)
    except TargetError:
        return Roof(why="the artifact holds no facts of its target that are known here")


_TYPES = re.compile(r"_((?:[fiu](?:8|16|32|64)|b8)+)(?:_|$)")
_SIZES = re.compile(r"_m(\d{1,12})k(\d{1,12})(?:n(\d{1,12}))?")
_WINDOW = re.compile(r"_(\d{1,6})x(\d{1,6})_c\d")
_KEYS = re.compile(r"_h\d{1,9}q\d{1,9}k(\d{1,9})")


def _step(step: Step, row: Mapping[str, Any]) -> StepFacts:
    density = row.get("density")
    share = float(density) if isinstance(density, int | float) and 0 <= density <= 1 else None
    kind = row.get("kernel")
    types = _TYPES.search(step.kernel)
    return StepFacts(
        name=step.name,
        op=step.op,
        kernel=step.kernel,
        kind=kind if kind in (DENSE, SPARSE) else OTHER,
        types=types[1] if types else "",
        density=share,
        work=_work(step, share if kind == SPARSE else 1.0),
    )


def _work(step: Step, kept: float | None) -> Work:
    """The work of a call as its symbol and its operands tell it.

    Symbols are all that an artifact says of sizes: `tiled` and `vector` name M, K and N, `depthwise` its window,
    `attention` how many keys it has.
    """
    moved = sum(arg.size_bytes for arg in step.args if arg.space is not Space.SCRATCH)
    places = [arg for arg in step.args if arg.space is Space.ARENA]
    written = places[-1].size_bytes // 4 if places else 0  # elements; kernels with products compute in float32
    if (sizes := _SIZES.search(step.kernel)) and "_untile_" not in step.kernel:
        m, k, n = (int(each or 1) for each in sizes.groups())
        copies = max(written // max(m * n, 1), 1)
        return Work(None if kept is None else float(m * k * n * copies) * kept, moved)
    if step.kernel.startswith("es_depthwise_") and (window := _WINDOW.search(step.kernel)):
        return Work(float(int(window[1]) * int(window[2]) * written), moved)
    if step.kernel.startswith("es_attention_") and (keys := _KEYS.search(step.kernel)):
        return Work(2.0 * int(keys[1]) * written, moved)
    return Work(None, moved)
