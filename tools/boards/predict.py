"""Predict, without a board, how long whole models take on one: every figure is an estimate.

    python -m tools.boards.predict

Every kernel call of the compiled model runs under QEMU once. Its counted instructions go through the port model, its
simulated cache misses through the rules below.

- An L1 miss that L2 holds costs the latency of L2 over the misses that overlap.
- What L2 misses comes from memory at a third of its peak rate, and nothing overlaps with that.
- Caches are cold when a kernel starts, and there is no prefetcher: too dark a picture of layers whose input fits L2.
- Leaving a loop costs a misprediction.
- Threads share the tiles of a kernel evenly, and the rate of the memory; starting and joining them is free.
- The clock is the nominal one, held.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesparse import frontend, schedule
from edgesparse.backends.cpu import supports
from edgesparse.backends.cpu.codegen import compile_kernels
from edgesparse.backends.cpu.kernel import Call, Memory, Tensor
from edgesparse.backends.cpu.walk import lower_ops
from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.errors import TargetError
from edgesparse.graph.ops import graph_of
from edgesparse.plan import Plan
from edgesparse.prune import prune
from models import zoo
from tools.boards.emulate import Ran, core_of, emulate
from tools.boards.ports import kernel_cycles

MODELS = "mobilenetv1,resnet50"
BOARDS = "rpi4,rpi5"
DENSITIES = "1,0.2,0.1"
DOCS = Path(__file__).parents[2] / "docs" / "raspberry-pi.md"
BEGIN, END = "<!-- written by python -m tools.boards.predict --docs -->", "<!-- end -->"
LINE_BYTES = 64
SUSTAINED = 1 / 3  # of the peak rate of the memory
WORKERS = 2


@dataclass(frozen=True)
class StepCost:
    """Estimated cost of one kernel call: what its threads share, and what the memory takes."""

    name: str
    op: str
    tiles: int
    weighted: bool
    core_us: float  # ports, mispredictions and L2
    memory_us: float

    def time_us(self, threads: int) -> float:
        """With the tiles shared among `threads`."""
        turns = -(-self.tiles // threads)
        return self.core_us * turns / max(self.tiles, 1) + self.memory_us


def step_cost(call: Call, ran_core_cycles: float, l1_misses: int, l2_misses: int, target: Target) -> StepCost:
    """Turn the counts of one call into microseconds."""
    core, cpu = core_of(target), target.cpu
    if cpu.clock_hz is None or cpu.bandwidth_bytes_per_s is None:
        raise TargetError(f"{target.name}: cpu.clock_hz or memory.bandwidth_bytes_per_s: missing, a time needs both")
    waits = (l1_misses - l2_misses) * core.l2_latency_cycles / core.misses_in_flight
    return StepCost(
        name=call.name,
        op=call.op,
        tiles=call.kernel.tiles,
        weighted=call.kernel.symbol.startswith(("es_tiled", "es_vector", "es_winograd")),
        core_us=(ran_core_cycles + waits) / cpu.clock_hz * 1e6,
        memory_us=l2_misses * LINE_BYTES / (cpu.bandwidth_bytes_per_s * SUSTAINED) * 1e6,
    )


def predict(path: Path, density: float, target: Target) -> list[StepCost]:
    """The cost of every kernel call of a model pruned uniformly to `density`."""
    model = frontend.read(path)
    if density < 1:
        model = prune(model, density).model
    normal = frontend.load(model, None, supports=supports)
    return costs_of(schedule.plan(graph_of(normal), target), target)


def costs_of(plan: Plan, target: Target) -> list[StepCost]:
    """The cost of every kernel call of a plan."""

    def cost(call: Call, ran: Sequence[Ran]) -> StepCost:
        cycles = kernel_cycles(ran, core_of(target))
        return step_cost(call, cycles, sum(r.l1_misses for r in ran), sum(r.l2_misses for r in ran), target)

    return [cost(call, ran) for call, ran in emulated(plan, target)]


def emulated(plan: Plan, target: Target) -> list[tuple[Call, list[Ran]]]:
    """Every kernel call of a plan, and what its instructions did; on one thread, from cold caches."""
    calls = lower_ops(plan, target).calls
    kernels = {call.kernel.symbol: call.kernel for call in calls}
    image = compile_kernels(list(kernels.values()), target)
    with ThreadPoolExecutor(WORKERS) as pool:
        ran = pool.map(lambda call: emulate(image, call, _feeds(call), target)[0], calls)
        return list(zip(calls, ran, strict=True))


def instructions(plan: Plan, target: Target) -> int:
    """Instructions that an inference executes in the kernels."""
    return sum(each.runs for _, ran in emulated(plan, target) for each in ran)


def _feeds(call: Call) -> dict[Memory, np.ndarray]:
    """Seeded numbers for what a call reads; they do not change what its instructions do."""
    generator = np.random.default_rng(0)
    tensors = [read for read in call.reads if isinstance(read, Tensor)]
    return {t.memory: generator.standard_normal(t.shape).astype(t.dtype) for t in tensors}


HEADERS = (
    "model",
    "board",
    "density",
    "1 thread, ms",
    "4 threads, ms",
    "in weighted layers, estimated",
    "speedup, 1 thread, estimated",
)


def rows(models: Sequence[str], boards: Sequence[str], densities: Sequence[float]) -> Iterator[tuple[str, ...]]:
    """Rows of the table, as they come."""
    for name in models:
        for board in boards:
            target, dense = targets.load(board), None
            for density in densities:
                steps = predict(zoo.cached(name), density, target)
                one, four = (sum(step.time_us(threads) for step in steps) / 1000 for threads in (1, 4))
                weighted = sum(step.time_us(1) for step in steps if step.weighted) / 1000 / one
                dense = one if dense is None and density == 1 else dense
                gain = f"{dense / one:.1f}x" if dense else "-"
                times = (f"{one:.0f} (estimated)", f"{four:.0f} (estimated)")
                yield name, board, f"{density:g}", *times, f"{weighted:.0%}", gain


def insert(text: str, table: str) -> str:
    """A page with the table between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--densities", default=DENSITIES)
    parser.add_argument("--docs", action="store_true", help="also write the table into docs/raspberry-pi.md")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    densities = [float(text) for text in options.densities.split(",")]
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    for row in rows(options.models.split(","), options.boards.split(","), densities):
        print(*row, file=sys.stderr, flush=True)
        lines.append("| " + " | ".join(row) + " |")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if options.docs:
        DOCS.write_text(insert(DOCS.read_text(), table))


if __name__ == "__main__":
    main()
