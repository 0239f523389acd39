"""Fit unit costs to measured experiments by non-negative least squares of the relative errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import onnx_ir as ir

from edgesparse.devices.costs import MEASURED, Costs, CostTable, LoopCost
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.forms.tile import Experiment
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP, Key, Work
from edgesparse.graph.ops import graph_of
from edgesparse.schedule.cost import time_us, work
from edgesparse.schedule.estimate import estimate

L1_SHARES = (0.75, 1.0, 1.5, 2.0)  # tried
RIDGE = 0.02  # how strongly costs that the experiments leave open are drawn towards the estimate


@dataclass(frozen=True)
class Fit:
    """A cost table, and its prediction over the measured time of each experiment."""

    cost_table: CostTable
    ratios: dict[str, float]  # by experiment

    @property
    def error(self) -> float:
        """What nine of ten relative errors do not exceed."""
        return float(np.quantile([abs(ratio - 1) for ratio in self.ratios.values()], 0.9))

    @property
    def within_20_percent(self) -> float:
        """Share of the experiments whose prediction is that near."""
        return sum(0.8 <= ratio <= 1.2 for ratio in self.ratios.values()) / len(self.ratios)


def fit_experiments(
    model: ir.Model,
    tried: Sequence[Experiment],
    times_us: Mapping[str, float],
    target: Target,
    source: str,
    machine: str,
) -> Fit:
    """Fit a target's cost table to what the layers of the experiments' model took, by name.

    Raises: MeasureError: a time is missing or is none.
    """
    for experiment in tried:
        if not times_us.get(experiment.name, 0) > 0:
            got = times_us.get(experiment.name)
            raise MeasureError(
                f"{source}: step {experiment.name!r}: got {got!r}, expected microseconds; "
                "remedy: measure the artifact that this version of edgesparse writes"
            )
    found = {op.layer.name: op for op in graph_of(model, target.cpu.dotted).weighted}
    counted = [(found[e.name], WeightCounts(found[e.name].layer.weight, 1), e.tile) for e in tried]
    times = [times_us[experiment.name] for experiment in tried]
    best: Fit | None = None
    for l1_share in L1_SHARES:
        works = [work(op, weight, tile, target.cpu, l1_share) for op, weight, tile in counted]
        table = replace(fit(works, times, target, source, machine), l1_share=l1_share)
        predicted = (time_us(units, table) or 0.0 for units in works)
        tested = Fit(table, {e.name: p / t for e, p, t in zip(tried, predicted, times, strict=True)})
        if best is None or tested.error < best.error:
            best = tested
    assert best is not None
    return best


def fit(works: Sequence[Work], times_us: Sequence[float], target: Target, source: str, machine: str) -> CostTable:
    """The cost table under which work takes what was measured, as nearly as can be.

    Args:
        works: what each measurement does.
        times_us: what it took, one number each.

    Source: Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23.
    """
    from scipy.optimize import nnls

    guessed = estimate(target)
    works = [_in_known_loops(units, guessed) for units in works]
    keys = sorted({key for units in works for key in units}, key=str)
    counts = np.array([[units.get(key, 0.0) for key in keys] for units in works])
    relative = counts / (1e3 * np.asarray(times_us))[:, None]
    guess = np.array([_unit_ns(key, guessed) for key in keys])
    guess /= np.median(relative @ guess)
    pull = RIDGE * np.eye(len(keys))
    system = np.vstack([relative * guess, pull])
    solution, _ = nnls(system, np.concatenate([np.ones(len(works)), pull.sum(axis=0)]), maxiter=30 * len(keys))
    unit_ns = dict(zip(keys, (solution * guess).tolist(), strict=True))
    loops = {key[0] for key in keys if not isinstance(key, str)}
    return CostTable(
        target=target.name,
        origin=MEASURED,
        source=source,
        costs=Costs(**{f.name: unit_ns.get(f.name, 0.0) for f in fields(Costs)}),
        loops={loop: LoopCost(unit_ns[loop, STEP], unit_ns[loop, START]) for loop in sorted(loops)},
        machine=machine,
    )


def _in_known_loops(units: Work, table: CostTable) -> Work:
    """The same work, with loops between those of the cost table as parts of them."""
    known = defaultdict[Key, float](float)
    for key, count in units.items():
        if isinstance(key, str):
            known[key] += count
            continue
        for loop, part in table.neighbours(key[0]).items():
            known[loop, key[1]] += part * count
    return known


def _unit_ns(key: Key, table: CostTable) -> float:
    if isinstance(key, str):
        return float(getattr(table.costs, key))
    cost = table.loops[key[0]]
    return cost.step_ns if key[1] == STEP else cost.start_ns
