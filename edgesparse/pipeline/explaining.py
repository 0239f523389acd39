"""Explain, before anything is compiled, how every layer of a model would run on a target, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from edgesparse.outputs import written
from edgesparse.pipeline.arguments import Bindings, InputShapes, Preprocessing, Progress, name_of, silent
from edgesparse.pipeline.budgets import SearchReport
from edgesparse.pipeline.dtypes import dtype_called
from edgesparse.pipeline.files import require_writable
from edgesparse.pipeline.layer_times import LayerTimes, layer_times
from edgesparse.pipeline.options import PruningOptions
from edgesparse.pipeline.preparing import Prepared, Request, prepared
from edgesparse.pipeline.settings import Pruning
from edgesparse.plan import LayerPlan
from edgesparse.signatures import PAGE
from edgesparse.tables import Note, Part, Report, Table, counts_text, shape_text, time_text

if TYPE_CHECKING:
    from edgesparse.frontend import Examples, Source
    from edgesparse.plan import Plan
    from edgesparse.prune import PruneReport


@dataclass(frozen=True)
class FixedLayer:
    """A layer with weights or products that there is nothing to choose for, and its predicted time on one thread."""

    layer: str
    op: str
    why: str
    us: float


@dataclass(frozen=True, repr=False)
class ExplainReport(Report):
    """Every weighted layer's plan in the order of the graph; times are predicted for `threads`.

    `rest_us` is what everything else takes on one thread, roughly. `origin` says whether the cost table behind the
    times is "measured" or "estimated", `source` by what.
    """

    model: str
    target: str
    threads: int
    origin: str
    source: str
    layers: tuple[LayerPlan, ...]
    fixed: tuple[FixedLayer, ...]
    rest_us: float
    other_ops: dict[str, int]
    search: SearchReport | None = None
    pruning: PruneReport | None = None
    notes: tuple[str, ...] = ()
    measured: LayerTimes | None = None

    @property
    def dense_us(self) -> float:
        """All layers with their best dense kernels."""
        return sum(plan.dense_us for plan in self.layers)

    @property
    def predicted_us(self) -> float:
        """All layers with the kernels that were chosen."""
        return sum(plan.predicted_us for plan in self.layers)

    def parts(self) -> Iterator[Part]:
        """One row per layer, the sum of them, what pruning did, and what has no weights."""
        rows = [
            (
                plan.layer,
                plan.op,
                shape_text((plan.m, plan.k, plan.n)),
                plan.numerics.told,
                density,
                f"{plan.dense_us:.1f}",
                f"{plan.sparse_us:.1f}",
                break_even,
                plan.choice,
                plan.reason,
            )
            for plan in self.layers
            for density, break_even in [plan.told()]
        ]
        rows += [
            (layer.layer, layer.op, "", "", "", f"{layer.us:.1f}", "", "", "fixed", layer.why) for layer in self.fixed
        ]
        headings = ("layer", "op", "MxKxN", "type", "density", "dense us", "sparse us", "even", "choice", "why")
        if self.measured is None:
            yield Table(headings, rows)
        else:
            yield from self._measured(self.measured, headings, rows)
        yield (
            f"weighted layers: {time_text(self.predicted_us)} as chosen, {time_text(self.dense_us)} all dense; "
            f"everything else: about {time_text(self.rest_us)} on one thread; "
            f"{self.threads} thread(s), predicted for {self.target} (cost table {self.origin}: {self.source})"
        )
        if self.search is not None:
            yield from self.search.parts()
        if self.pruning is not None:
            yield from self.pruning.left()
            yield from self.pruning.judged()
        if self.other_ops:
            yield f"without weights: {counts_text(self.other_ops)}"
        yield from map(Note, self.notes)

    def _measured(self, found: LayerTimes, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[Part]:
        """The rows with the time that each layer took, and the sums of both."""
        if found.where:
            yield Note(found.where)
        if found.device is not None:
            yield from found.device.warnings("the device")
        times = [f"{found.us[row[0]]:.1f}" if row[0] in found.us else "" for row in rows]
        at = names.index("even")
        yield Table(
            (*names[:at], "measured us", *names[at:]),
            [(*row[:at], time, *row[at:]) for row, time in zip(rows, times, strict=True)],
        )
        ours = sum(found.us.get(plan.layer, 0.0) for plan in self.layers)
        yield (
            f"measured: weighted layers {time_text(ours)}, everything else {time_text(sum(found.us.values()) - ours)}; "
            f"{self.threads} thread(s), 10th percentile of each kernel call"
        )


def _fixed(plan: Plan) -> Iterator[FixedLayer]:
    """The products that nothing is chosen for, with the time of the ops that compute them."""
    from edgesparse import schedule

    hosts = {found.name: name for name, found in plan.joined.items()}
    for op, us in plan.op_us.items():
        named = [node for node in op.nodes if schedule.why_fixed(node)]
        for node in named:
            host = hosts.get(str(node.name)) or ("" if node is named[0] else named[0].name)
            why = f"computed in the kernel of {host!r}" if host else schedule.why_fixed(node)
            yield FixedLayer(str(node.name), node.op_type, why, us if node is named[0] else 0.0)


def _predicted(ready: Prepared, plan: Plan) -> ExplainReport:
    from edgesparse import frontend, schedule

    asked = ready.asked
    table = schedule.cost_table(asked.target)
    rest = [node for node in ready.normal.graph if str(node.name) not in plan.layers]
    fixed = tuple(_fixed(plan))
    names = {layer.layer for layer in fixed}
    return ExplainReport(
        model=name_of(asked.model),
        target=asked.target.name,
        threads=asked.threads,
        origin=table.origin,
        source=table.source,
        layers=tuple(plan.layers.values()),
        fixed=fixed,
        rest_us=plan.rest_us,
        other_ops=dict(Counter(node.op_type for node in rest if str(node.name) not in names).most_common()),
        search=ready.search,
        pruning=ready.report,
        notes=(*frontend.remarks(ready.source, ready.input_shapes), *_advice(plan, asked)),
    )


def _advice(plan: Plan, asked: Request) -> Iterator[str]:
    """What bytes, and blocks of zeros, would make of the layers, where that is much."""
    from edgesparse import schedule

    found = schedule.advice(plan, asked.target, asked.threads)
    if found is not None:
        yield (
            f"{found.change}: weighted layers about {time_text(found.us)}, with as many zeros "
            "(an estimate, of speed alone)"
        )


def explain(
    model: Source,
    target: str | Target = targets.HOST,
    *,
    example_inputs: Examples = None,
    input_shapes: InputShapes | None = None,
    bind: Bindings | None = None,
    preprocess: Preprocessing = None,
    threads: int = 1,
    dtype: str | None = None,
    measured: bool = False,
    on: str | None = None,
    cores: str | None = None,
    cool_down: str | float | None = None,
    html: str | Path | None = None,
    progress: Progress = silent,
    **pruning: Unpack[PruningOptions],
) -> ExplainReport:
    """Say for every weighted layer what dense and sparse kernels would take, which is chosen, and why.

    Args:
        model, target, example_inputs, input_shapes, bind, preprocess, dtype, pruning: as for `compile`.
        threads: to predict for, and that a budget of latency holds for.
        measured: also compile the model, and measure what its layers take as chosen: on this machine, or on `on`.
        on: the device that layers or a budget are measured on, as for `run`.
        cores, cool_down: of that device, where layers are measured, as for `run`.
        html: also write the report to this file, as one page that needs no other file.

    Raises: EdgesparseError: the model, the target or the options cannot be used, or the file cannot be written.
    """
    from edgesparse import schedule
    from edgesparse.devices.here import named, require_here
    from edgesparse.frontend.view import view

    device = target if isinstance(target, Target) else targets.load(target)
    place = named(on, progress, cores=cores, cool_down=cool_down)
    if measured and on is None:
        require_here(device)
    if html is not None:
        require_writable(Path(html), PAGE, (model, target, pruning.get("calibration")))
    wanted = Pruning.of(pruning, device.cpu.lanes(F32))
    computed = dtype_called(dtype, wanted)
    asked = Request(model, device, wanted, example_inputs, input_shapes, bind, preprocess, threads, on, computed)
    ready = prepared(asked, Path(), progress)
    progress("predicting times")
    plan = schedule.plan(view(ready.normal, device.cpu, asked.dtype), device, threads)
    report = _predicted(ready, plan)
    if measured:
        report = replace(report, measured=layer_times(ready.normal, device, threads, place, progress, asked.dtype))
    if html is not None:
        from edgesparse import pages

        facts = pages.of_plan(plan, device.cpu, threads)
        with written(Path(html)) as temporary:
            temporary.write_text(pages.explain_page(report, facts), encoding="utf-8")
    return report
