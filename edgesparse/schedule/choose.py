"""Choose, for every weighted layer, dense or sparse and the tile, and say why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgesparse.devices.costs import ESTIMATED, MEASURED, CostTable
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.forms import candidates
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import STEP, Work
from edgesparse.graph.ops import Graph, Op, Weighted
from edgesparse.nodes import constant
from edgesparse.numerics import COMPUTED
from edgesparse.plan import LayerPlan, Plan
from edgesparse.schedule.arrange import arrange
from edgesparse.schedule.cost import handed_over, time_us, work
from edgesparse.schedule.estimate import estimate, with_loops
from edgesparse.schedule.price import op_us
from edgesparse.schedule.reason import on_these_threads, spending, verdict, within_error

MARGINS = {MEASURED: 0.05, ESTIMATED: 0.2}  # shares of the dense time that sparse must be predicted to save


@dataclass(frozen=True)
class Prediction:
    """A tile, what it has to do, and its time.

    `core_us` is what choices go by: core time, the mean of one thread and all cores, which wait for the slowest.
    `fixed_us` is the part of it that does not grow with the nonzeros.
    """

    tile: Tile
    units: Work
    us: float
    core_us: float
    fixed_us: float


def plan(graph: Graph, target: Target, threads: int = 1) -> Plan:
    """Choose how every op of a graph runs; times of weighted layers are predicted for `threads`."""
    table, cpu = cost_table(target), target.cpu
    ops = {op.layer.name: op for op in graph.weighted}
    chosen = {name: plan_layer(op, cpu, table, threads) for name, op in ops.items()}
    arranged = arrange(graph, chosen, cpu)
    joined = {name: _joined(ops[name], arranged.layers[name], cpu, table, threads) for name in arranged.joined}
    others: dict[Op, float] = {op: op_us(op, table, cpu) for op in graph.ops if not isinstance(op, Weighted)}
    for within in arranged.joined.values():
        others[within] -= table.costs.call_ns / 1e3
    return replace(arranged, layers={**arranged.layers, **joined}, op_us=others)


def _joined(op: Weighted, planned: LayerPlan, cpu: Cpu, table: CostTable, threads: int) -> LayerPlan:
    """The plan of a layer whose kernel hands range after range of its channels over, with the time that takes."""
    tile, weight = planned.tile, WeightCounts(op.layer.weight, op.layer.plane.groups)
    units = handed_over(op.layer, work(op, weight, tile, cpu, table.l1_share), cpu)
    us = time_us(units, table, tile.busiest_share(op.layer, cpu, threads))
    assert us is not None  # it was predicted with other ranges
    told = f"in one kernel with {planned.joined!r}: its output stays in the cache, one range of channels at a time"
    return replace(planned, reason=f"{planned.reason}; {told}", joined_us=us)


def cost_table(target: Target) -> CostTable:
    """What times are predicted by: the target's cost table, or an estimate where it has none."""
    table = target.cost_table or estimate(target)
    for numerics in target.cpu.numerics[1:]:
        table = with_loops(table, numerics)
    return table


def why_fixed(node: ir.Node) -> str:
    """Why there is nothing to choose for a node that multiplies; empty for a node that does not."""
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        constants = " or ".join(numerics.w.name for numerics in COMPUTED)
        if _has_constant(node) and len(node.inputs) > 2 and constant(node.inputs[2]) is None:
            return "its bias is computed at run time"
        return "depthwise: a kernel of its own" if groups > 1 else f"its weight is not a constant of type {constants}"
    if node.op_type in ("MatMul", "Gemm"):
        return "a product of two computed values" if not _has_constant(node) else "its weight is not a single matrix"
    return "no sparse kernel computes it" if node.op_type == "ConvTranspose" else ""


def _has_constant(node: ir.Node) -> bool:
    return any(value is not None and value.const_value is not None for value in node.inputs[:2])


def plan_layer(op: Weighted, cpu: Cpu, table: CostTable, threads: int = 1) -> LayerPlan:
    """Compare the best dense and the best sparse candidate of a layer."""
    layer, known = op.layer, list(predictions(op, cpu, table, threads))
    skipping = [p for p in known if p.tile.is_sparse]
    dense, declined = _best_dense([p for p in known if not p.tile.is_sparse])
    sparse = _best(skipping)
    goal_us = (1.0 - MARGINS[table.origin]) * dense.core_us  # predictions err, those by an estimate more
    break_even = _break_even(goal_us, skipping, layer.density)
    chosen = sparse if layer.density < break_even else dense
    saved = saving(sparse, dense)
    notes = [
        verdict(layer.density, break_even, saved),
        on_these_threads(dense.us, sparse.us, saved, threads),
        within_error(declined.tile.method, saving(declined, dense)) if declined and chosen is dense else "",
        *spending(chosen.tile, chosen.units, table),
    ]
    plane = layer.plane
    return LayerPlan(
        layer=layer.name,
        op=layer.node.op_type,
        m=plane.groups * plane.m,
        k=op.k,
        n=plane.batch * plane.n,
        numerics=layer.numerics,
        density=layer.density,
        tile=chosen.tile,
        break_even=break_even,
        reason="; ".join(note for note in notes if note),
        dense_us=dense.us,
        sparse_us=sparse.us,
        saved=saved,
        origin=table.origin,
    )


def predictions(op: Weighted, cpu: Cpu, table: CostTable, threads: int = 1) -> Iterator[Prediction]:
    """Every candidate whose loops the cost table knows, with its predicted time."""
    layer, cores = op.layer, cpu.cores
    weight = WeightCounts(layer.weight, layer.plane.groups)
    for tile in candidates(layer, weight, cpu):
        if tile.needs_measured and table.origin != MEASURED:
            continue
        units = work(op, weight, tile, cpu, table.l1_share)
        share, share_of_all = (tile.busiest_share(layer, cpu, of) for of in (threads, cores))
        us = time_us(units, table, share)
        if us is not None:
            fixed = {key: n for key, n in units.items() if not _grows(key)}
            core_us, fixed_us = (_core_us(part, table, share_of_all, cores) for part in (units, fixed))
            yield Prediction(tile, units, us, core_us, fixed_us)


def _core_us(units: Work, table: CostTable, share: float, cores: int) -> float:
    one, all_cores = (time_us(units, table, each) or 0.0 for each in (1.0, share))
    return (one + cores * all_cores) / 2


def _grows(key: object) -> bool:
    """Whether the units of this kind of work grow with the nonzeros."""
    return key in ("far_vector_ns", "weight_kib_ns", "weight_again_kib_ns") or (
        isinstance(key, tuple) and key[1] == STEP
    )


def _best(found: Iterable[Prediction]) -> Prediction:
    return min(found, key=lambda prediction: prediction.core_us)


def _best_dense(found: Sequence[Prediction]) -> tuple[Prediction, Prediction | None]:
    """The fastest, and one that is predicted faster still, but not by the margin of its form."""
    direct = _best(p for p in found if not p.tile.margin)
    best = _best(found)
    if best is direct:
        return direct, None
    return (best, None) if saving(best, direct) > best.tile.margin else (direct, best)


def saving(one: Prediction, other: Prediction) -> float:
    """Share of the core time of `other` that `one` is predicted to save; negative where it takes longer."""
    return 1.0 - one.core_us / other.core_us


def _break_even(goal_us: float, sparse: list[Prediction], density: float) -> float:
    """The largest density at which some sparse candidate takes less core time than `goal_us`; in [0, 1].

    The time beyond the fixed part is taken to grow in proportion to the density.
    """
    if density == 0:
        return 1.0 if any(p.core_us < goal_us for p in sparse) else 0.0
    reached = [
        density * (goal_us - p.fixed_us) / max(p.core_us - p.fixed_us, 1e-9) for p in sparse if p.fixed_us < goal_us
    ]
    return min(1.0, max(reached, default=0.0))
