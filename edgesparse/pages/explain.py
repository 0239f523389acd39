"""The page of `explain`: how every layer would run on a target, what dense and sparse would take, and why."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from edgesparse.pages import frame
from edgesparse.pages.bars import Part, Row, legend, network, rows, strip, swatch, times
from edgesparse.pages.charts import Dot, roofline
from edgesparse.pages.element import Child, Markup, joined, name, tag
from edgesparse.pages.facts import OTHER, PlannedFacts, Work
from edgesparse.pages.frame import Section
from edgesparse.pages.grid import LAYER, NUMBER, Cell, Column, grid
from edgesparse.pages.layers import (
    MOST_ROWS,
    ROOFLINE_LEAD,
    bound_line,
    bound_words,
    chip,
    layer_cell,
    number,
    readout,
)
from edgesparse.pages.quantities import NONE, known, plain, told
from edgesparse.tables import counts_text

if TYPE_CHECKING:
    from edgesparse.pipeline.explaining import ExplainReport, FixedLayer
    from edgesparse.plan import LayerPlan

_NOTHING = Work(None, 0)


def explain_page(report: ExplainReport, facts: PlannedFacts | None = None) -> str:
    """The report as a page; with the work of its layers, also their roofline."""
    facts = facts or PlannedFacts()
    whole_us = report.predicted_us + report.rest_us
    dense_us = report.dense_us + report.rest_us
    sparse = sum(plan.kernel == "sparse" for plan in report.layers)
    measured = [us for plan in report.layers if (us := _measured(plan)) is not None]
    figures = [
        plain("An inference", whole_us, "us", "estimated", _threads(report)),
        *([plain("Its weighted layers", sum(measured), "us", "measured")] if measured else []),
        plain("All dense", dense_us, "us", "estimated", f"{times(dense_us / whole_us)} as long" if whole_us else ""),
        plain("Layers that run sparse", sparse, "count", "", f"of {len(report.layers)} with weights"),
        plain("Weights left", 100 * _density(report.layers), "%", "", "share that is not zero"),
        plain("Multiply-adds", _sum(work.multiply_adds for work in facts.works.values()), "MAC", "", "zeros left out"),
    ]
    sections = [_time(report, facts), _layers(report, facts)]
    if facts.works:
        sections.append(_roofline(report, facts))
    sections += _rest(report)
    about = (
        "on ",
        tag("b", name(report.target)),
        f", {_threads(report)}. Times are predicted: the cost table is {report.origin} (",
        name(report.source, 120),
        ").",
    )
    return frame.page("explain", report.model, about, figures, sections)


def _threads(report: ExplainReport) -> str:
    return f"{report.threads} thread" + ("s" if report.threads > 1 else "")


def _measured(plan: LayerPlan) -> float | None:
    """What a layer took on a device, where that is known."""
    return known(getattr(plan, "measured_us", None))


def _sum(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def _density(layers: tuple[LayerPlan, ...]) -> float:
    weights = sum(plan.m * plan.k for plan in layers)
    return sum(plan.m * plan.k * plan.density for plan in layers) / weights if weights else 1.0


def _parts(report: ExplainReport, facts: PlannedFacts, *, dense: bool) -> list[Part]:
    """The network in its order, as chosen or with the best dense kernels; what has no row comes last."""
    parts = [
        Part(plan.layer, "dense", plan.dense_us, plan.op)
        if dense
        else Part(plan.layer, plan.kernel, plan.predicted_us, plan.choice)
        for plan in report.layers
    ]
    parts += [Part(layer.layer, OTHER, layer.us, layer.op) for layer in report.fixed]
    place = {title: at for at, title in enumerate(facts.order)}
    parts.sort(key=lambda part: place.get(part.name, len(place)))
    left = report.rest_us - sum(layer.us for layer in report.fixed)
    return [*parts, Part("everything else", OTHER, max(left, 0.0), counts_text(report.other_ops))]


def _time(report: ExplainReport, facts: PlannedFacts) -> Section:
    chosen, dense = (_parts(report, facts, dense=each) for each in (False, True))
    longest = max(sum(part.us for part in parts) for parts in (chosen, dense))
    bars = (
        (words, tag("span", told(sum(part.us for part in parts), "us"), class_="words"), network(parts, words, longest))
        for words, parts in (("As chosen", chosen), ("All dense", dense))
    )
    content = joined(
        (tag("div", tag("p", tag("b", words), " ", sum_), bar, class_="against") for words, sum_, bar in bars),
        readout(),
        legend(chosen),
    )
    lead = "The network as a bar of its layers in their order, each as wide as its time; both bars on one scale."
    return Section("time", "Where the time goes", content, lead)


def _layers(report: ExplainReport, facts: PlannedFacts) -> Section:
    longest = max((max(plan.dense_us, plan.sparse_us) for plan in report.layers), default=1.0) or 1.0
    place = {title: at for at, title in enumerate(facts.order)}
    every = [(plan.layer, plan.predicted_us, partial(_plan_row, plan, facts, longest)) for plan in report.layers]
    every += [(layer.layer, layer.us, partial(_fixed_row, layer, facts)) for layer in report.fixed]
    most = sorted(every, key=lambda each: -each[1])[:MOST_ROWS]
    rows = [row() for _, _, row in sorted(most, key=lambda each: place.get(each[0], len(place)))]
    lead = (
        swatch("dense"),
        "dense ",
        swatch("sparse"),
        "sparse: the best of each, on one scale. The mark on a density is the break-even, below which sparse wins.",
        f" The {len(every) - len(most):,} layers that take least are left out." if len(most) < len(every) else "",
    )
    return Section("layers", "Layers", grid("layers-table", "Layers, and how they would run", _COLUMNS, rows), lead)


_COLUMNS = (
    Column("Layer", LAYER),
    Column("M x K x N", NUMBER),
    Column("Density", NUMBER),
    Column("Dense, µs", NUMBER),
    Column("Sparse, µs", NUMBER),
    Column("Measured, µs", NUMBER),
    Column("Limit"),
    Column("Choice, and why", "why"),
)


def _plan_row(plan: LayerPlan, facts: PlannedFacts, longest: float) -> list[Child | Cell]:
    density, even = plan.told()
    below = (strip(plan.density, plan.kernel, plan.break_even), tag("small", f"break-even {even}"))
    return [
        layer_cell(plan.layer, plan.op, plan.types),
        Cell(f"{plan.m} x {plan.k} x {plan.n}", plan.m * plan.k * plan.n),
        Cell((density, below), plan.density),
        _us(plan, "dense", plan.dense_us, longest),
        _us(plan, "sparse", plan.sparse_us, longest),
        number(_measured(plan)),
        _limit(facts, plan.layer),
        Cell(
            (chip(plan.kernel), name(plan.choice.removeprefix(plan.kernel), 80), tag("small", name(plan.reason, 300)))
        ),
    ]


def _fixed_row(layer: FixedLayer, facts: PlannedFacts) -> list[Child | Cell]:
    cell, none = layer_cell(layer.layer, layer.op), number(None)
    limit = _limit(facts, layer.layer)
    return [cell, none, none, number(layer.us), none, none, limit, Cell(("fixed", _small(layer.why)))]


def _small(text: str) -> Markup:
    return tag("small", name(text, 300))


def _us(plan: LayerPlan, kernel: str, us: float, longest: float) -> Cell:
    text = f"{us:.1f}"
    return Cell((tag("strong", text) if plan.kernel == kernel else text, strip(us / longest, kernel)), us)


def _limit(facts: PlannedFacts, layer: str) -> str:
    return facts.roof.bound(facts.works.get(layer, _NOTHING)) or NONE


def _roofline(report: ExplainReport, facts: PlannedFacts) -> Section:
    layers = [(plan.layer, plan.kernel, _measured(plan) or plan.predicted_us) for plan in report.layers]
    layers += [(layer.layer, OTHER, layer.us) for layer in report.fixed]
    dots = [
        Dot(title, kind, work.intensity, (work.multiply_adds or 0.0) / us * 1e6, us, bound_words(facts.roof, work))
        for title, kind, us in layers
        if us > 0 and (work := facts.works.get(title)) is not None
    ]
    lead = f"{ROOFLINE_LEAD} Speeds are predicted."
    return Section("roofline", "Roofline", joined(roofline(dots, facts.roof), bound_line(dots, facts.roof)), lead)


def _rest(report: ExplainReport) -> Iterable[Section]:
    pruned = [*(report.search.parts() if report.search else ())]
    if report.pruning:
        pruned += [*report.pruning.left(), *report.pruning.judged()]
    if pruned:
        yield Section("pruning", "What pruning did", frame.told(pruned))
    if report.other_ops:
        most = sorted(report.other_ops.items(), key=lambda item: -item[1])[:20]
        drawn = rows([Row(name(op), count, f"{count}", OTHER) for op, count in most], "Operators without weights")
        yield Section("others", "Without weights", drawn, "Nodes that there is nothing to choose for, by operator.")
    if report.notes:
        notes = tag("ul", (tag("li", name(note, 400)) for note in report.notes), class_="notes")
        yield Section("notes", "Notes", notes)
