"""The port model: cycles of counted instructions on a core, from what it can start in a cycle.

A loop takes as long as the busiest of these, everything else overlapping with it:

- issue: instructions / issue width
- loads / load ports
- stored bits / bits a cycle
- vector pipes: multiply-adds, other vector operations, and either the second half of a broadcasting load or, on a
  core that issues in order, every vector load
- the longest chain of multiply-adds into one register, times their latency

Assumed besides: everything lies in L1, branches inside a loop are predicted, decode and renaming keep up, and the
compiler's order suits an in-order core. What lies outside the loops is taken as one more loop; leaving a loop costs
a misprediction where asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.devices.cpu import Core
from tools.boards.counts import Loop, Mix, mix_of, split_loops
from tools.boards.emulate import Ran


@dataclass(frozen=True)
class Bounds:
    """Cycles that each resource is busy."""

    issue: float
    loads: float
    stores: float
    vector: float
    latency: float

    @property
    def cycles(self) -> float:
        """The busiest resource's."""
        return max(self.issue, self.loads, self.stores, self.vector, self.latency)

    @property
    def bound(self) -> str:
        """Its name."""
        return max(("issue", "loads", "stores", "vector", "latency"), key=lambda name: float(getattr(self, name)))


def bounds(mix: Mix, core: Core, chain: float = 0.0) -> Bounds:
    """Cycles for a mix; `chain` counts multiply-adds that wait for one another."""
    singles = mix.wide_loads + mix.narrow_loads + mix.broadcast_loads + mix.scalar_loads
    loads = singles + core.pair_loads * (mix.narrow_pairs + mix.scalar_pairs)
    vector: float = core.fma_pipes * mix.fmas + mix.scalar_fmas + mix.vector
    if core.load_pipes:
        vector += core.load_pipes * (mix.wide_loads + (mix.narrow_loads + mix.narrow_pairs + mix.broadcast_loads) / 2)
    else:
        vector += mix.broadcast_loads
    return Bounds(
        issue=mix.instructions / core.issue_width,
        loads=loads / core.load_ports,
        stores=mix.store_bits / core.store_bits,
        vector=vector / core.vector_pipes,
        latency=chain * core.fma_latency_cycles,
    )


def loop_bounds(loop: Loop, core: Core) -> Bounds:
    """Cycles of all iterations of a loop."""
    return bounds(mix_of(loop.body), core, loop.longest_chain * loop.runs)


def kernel_cycles(ran: Sequence[Ran], core: Core, *, mispredicted: bool = True) -> float:
    """Cycles of a whole kernel with everything in L1."""
    loops, rest = split_loops(ran)
    cycles = sum(loop_bounds(loop, core).cycles for loop in loops) + bounds(mix_of(rest), core).cycles
    exits = sum(loop.entries for loop in loops) if mispredicted else 0
    return cycles + exits * core.mispredict_cycles


def inner_loop(ran: Sequence[Ran]) -> Loop:
    """The innermost loop with the most multiply-adds."""
    loops, _ = split_loops(ran)
    return max(loops, key=lambda loop: mix_of(loop.body).macs)
