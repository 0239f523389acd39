"""A calibration for a target that nobody has measured, from what its file says.

Cores of this class issue about as many loads as multiply-adds in a cycle: a dense step is bound by its multiply-adds,
a sparse one by its loads. One slot is a cycle.
"""

from __future__ import annotations

from edgesparse.calibration import ESTIMATED, Calibration, Costs, Loop, LoopCost
from edgesparse.schedule.candidates import loops
from edgesparse.targets import Target

CLOCK_HZ = 1_500_000_000  # where a target does not tell its clock
FMA_LATENCY = 8  # multiply-adds in flight that keep the units busy
LOOP_EXIT = 12  # slots lost where a loop ends whose length varies
SPARSE_OVERHEAD = 1.3  # of a sparse step over its counted slots
BYTES_PER_SLOT = 8  # of weights from beyond the L2 cache


def estimate(target: Target) -> Calibration:
    """Unit costs by the rule of thumb above."""
    slot_ns = 1e9 / (target.clock_hz or CLOCK_HZ)
    slots = {loop: _slots(loop) for loop in loops(target)}
    kib = 1024 / BYTES_PER_SLOT
    costs = Costs(500.0, *(slot_ns * count for count in (50, 4, 2, 2, 4, 0.3, kib / 2, kib, kib / 2, 30)))
    timed = {loop: LoopCost(step * slot_ns, start * slot_ns) for loop, (step, start) in slots.items()}
    return Calibration(target.name, ESTIMATED, "counted slots of the load unit", costs, timed)


def _slots(loop: Loop) -> tuple[float, float]:
    """Of a step: its multiply-adds, its loads of x, weights and indices, or the chain of its additions."""
    accumulators, (height, depth) = loop.vectors * loop.rows, loop.block
    if loop.form == "dense":
        return max(accumulators, loop.vectors + loop.rows, FMA_LATENCY), accumulators
    if loop.form == "sparse":
        entries = loop.rows // height * loop.chunk
        loads = entries * (depth * (loop.vectors + height) + 1)
        work = max(loads, accumulators * depth * loop.chunk, FMA_LATENCY * depth * loop.chunk / 2)
        return work * SPARSE_OVERHEAD, LOOP_EXIT + accumulators
    return (loop.vectors if loop.form == "vector_dense" else 4.0), LOOP_EXIT
