"""A cost table for a target that nobody has measured, from what its file says.

Cores of this class issue about as many loads as multiply-adds in a cycle: a dense step is bound by its multiply-adds,
a sparse one by its loads. One slot is a cycle.
"""

from __future__ import annotations

from dataclasses import replace

from edgesparse.devices.costs import ESTIMATED, Costs, CostTable, LoopCost
from edgesparse.devices.targets import Target
from edgesparse.forms import FORMS
from edgesparse.numerics import PLAIN, Numerics

CLOCK_HZ = 1_500_000_000  # where a target does not tell its clock
BYTES_PER_SLOT = 8  # of weights from beyond the L2 cache


def estimate(target: Target) -> CostTable:
    """Unit costs by the rule of thumb above."""
    slot_ns = 1e9 / (target.cpu.clock_hz or CLOCK_HZ)
    loops = {loop: form for form in FORMS for of in target.cpu.numerics for loop in form.loops(target.cpu, of)}
    slots = {loop: form.slots(loop) for loop, form in loops.items()}
    kib = 1024 / BYTES_PER_SLOT
    costs = Costs(500.0, *(slot_ns * count for count in (50, 4, 2, 2, 4, 0.3, kib / 2, kib, kib / 2, 30)))
    timed = {loop: LoopCost(step * slot_ns, start * slot_ns) for loop, (step, start) in slots.items()}
    return CostTable(target.name, ESTIMATED, "counted slots of the load unit", costs, timed)


def with_loops(table: CostTable, of: Numerics) -> CostTable:
    """A cost table that knows the loops over quads, or over float16: a dot product, or a multiply-add of as many bits,
    takes as long as a multiply-add of float32, if nobody has measured it."""
    like = {replace(loop, numerics=str(of)): cost for loop, cost in table.loops.items() if loop.numerics == str(PLAIN)}
    return replace(table, loops={**like, **table.loops})
