"""The charts of the pages: a histogram, lines over time, memory over steps, and the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesparse.pages.axes import Axis
from edgesparse.pages.element import Child, Markup, shortened, tag
from edgesparse.pages.facts import Roof
from edgesparse.pages.plot import Plot
from edgesparse.pages.quantities import digits, known, knowns, step_of, tick, told
from edgesparse.tables import shown

if TYPE_CHECKING:
    from edgesparse_runtime._profile import Bar

MOST_DOTS = 1_000
MOST_STAIRS = 1_500


def histogram(bars: Sequence[Bar], marks: Sequence[tuple[str, float | None]], says: str) -> Markup:
    """How many inferences took how long, with marks at some times. Bars of unequal width have a logarithmic axis."""
    numbers = [(known(bar.begin_us), known(bar.end_us), known(bar.runs)) for bar in bars]
    found = [(a, b, c) for a, b, c in numbers if a is not None and b is not None and c is not None and a < b and c > 0]
    if not found:
        return missing("no histogram was recorded")
    low, high = min(begin for begin, _, _ in found), max(end for _, end, _ in found)
    widths = [end - begin for begin, end, _ in found]
    if max(widths) > 1.5 * min(widths) and low > 0:
        axis = Axis(low / 1.02, high * 1.02, log=True)
    else:
        axis = Axis(low - (high - low) * 0.02, high + (high - low) * 0.02)
    size, unit = step_of(high, "us")
    plot = Plot(
        axis,
        Axis(0, 1.4 * max(runs for _, _, runs in found)),
        says,
        lambda v: tick(v / size),
        tick,
    )
    drawn = [
        plot.rect(begin, end, 0, runs, "runs", f"{told(begin, 'us')} to {told(end, 'us')}: {runs:,.0f} runs")
        for begin, end, runs in found
    ]
    lines = [
        plot.mark(value, f"{word} {told(value, 'us')}", row)
        for row, (word, value) in enumerate(marks)
        if value is not None and known(value) is not None
    ]
    return plot.draw(drawn, lines, x_label=f"time of an inference, {unit}")


@dataclass(frozen=True)
class Line:
    """A quantity over time; `low` and `high` are a band around it."""

    name: str
    unit: str
    class_: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    zero: bool = False


def over_time(begins_s: Sequence[float], end_s: float, line: Line, *, is_last: bool = True) -> Markup:
    """A line over the seconds of a run, each value in the middle of its slot."""
    found = knowns([*line.values, *line.low, *line.high])
    if not found or not knowns(begins_s):
        return missing(f"no {line.name} was recorded")
    size, unit = step_of(max(map(abs, found)), line.unit)
    edges = [*begins_s[1:], max(end_s, begins_s[-1])]
    middles = [(begin + end) / 2 for begin, end in zip(begins_s, edges, strict=True)]
    last = max(*knowns(edges), 1e-9)
    text = tick if is_last else _nothing
    says = f"{line.name} over time: from {told(min(found), line.unit)} to {told(max(found), line.unit)}"
    plot = Plot(
        Axis(0, last),
        Axis.around(found, zero=line.zero),
        says,
        text,
        lambda v: tick(v / size),
        110,
    )
    band = list(zip(middles, map(known, line.low), map(known, line.high), strict=False))
    drawn = plot.draw(
        plot.band(band, f"band {line.class_}") if band else None,
        plot.path(zip(middles, map(known, line.values), strict=True), f"line {line.class_}"),
        x_label="seconds since the first inference" if is_last else "",
    )
    heading = tag("figcaption", tag("b", line.name), f" {unit}")
    return tag("figure", heading, drawn, class_="over-time")


def _nothing(_value: float) -> str:
    return ""


def memory_over_steps(used: Sequence[int], arena: int, names: Sequence[str]) -> Markup:
    """Bytes of the arena in use while each step runs, below the size of the arena."""
    if not used:
        return missing("the plan has no steps, or too many to follow")
    peak = max(range(len(used)), key=used.__getitem__)
    size, unit = step_of(arena, "bytes")
    fold = -(-len(used) // MOST_STAIRS)  # several steps in one stair, as high as the highest of them
    stairs = [max(used[at : at + fold]) / size for at in range(0, len(used), fold)]
    where = shortened(shown(names[peak]), 60) if peak < len(names) else f"step {peak + 1}"
    says = (
        f"Arena in use over {len(used)} steps: {told(min(used), 'bytes')} to {told(used[peak], 'bytes')} of "
        f"{told(arena, 'bytes')}; most at step {peak + 1}, {where}"
    )
    axis = Axis.around([arena / size, *stairs], zero=True)
    plot = Plot(Axis(0, len(stairs)), axis, says, lambda v: f"{min(v * fold, len(used)):,.0f}", tick, 180)
    at = peak // fold + 0.5
    right = plot.x.at(at) > 0.6
    label = tag(
        "text",
        f"{told(used[peak], 'bytes')} at step {peak + 1}",
        x=plot.across(at),
        y=plot.down(used[peak] / size),
        dy=-8,
        class_="end" if right else None,
    )
    limit = plot.line(0, arena / size, len(stairs), arena / size, "limit")
    words = tag(
        "text", f"arena {told(arena, 'bytes')}", x="0", y=plot.down(arena / size), dx=4, dy=-6, class_="limit-text"
    )
    dot = plot.dot(at, used[peak] / size, "memory", where, 4)
    return tag(
        "figure",
        tag("figcaption", tag("b", "Arena in use"), f" {unit}"),
        plot.draw(plot.stairs(stairs, "area memory"), limit, words, dot, label, x_label="step of the plan"),
    )


@dataclass(frozen=True)
class Dot:
    """A layer on the roofline: multiply-adds for each byte, multiply-adds a second, and its time."""

    name: str
    kind: str
    intensity: float
    speed: float
    us: float
    note: str = ""


def roofline(dots: Sequence[Dot], roof: Roof) -> Markup:
    """Layers by how much they compute for each byte and how fast they do; the roof is what the target allows."""
    usable = [dot for dot in dots if (known(dot.intensity) or 0) > 0 and (known(dot.speed) or 0) > 0]
    usable = sorted(usable, key=lambda dot: -dot.us)[:MOST_DOTS]
    if not usable:
        return missing("no layer has both a time and known multiply-adds")
    peak, bandwidth, ridge = roof.multiply_adds_per_s, roof.bytes_per_s, roof.ridge
    x = Axis.around([*(dot.intensity for dot in usable), *([ridge] if ridge else [])], log=True)
    y = Axis.around([*(dot.speed for dot in usable), *([peak] if peak else [])], log=True)
    size, unit = step_of(y.high, "MAC/s")
    memory = sum(dot.intensity < ridge for dot in usable) if ridge else 0
    says = f"Roofline of {len(usable)} layers" + (f"; {memory} of them are bound by memory" if ridge else "")
    plot = Plot(x, y, says, tick, lambda v: tick(v / size), 320)
    lines, words = list[Child](), list[Child]()
    if peak and bandwidth and ridge:
        lines, words = _roof(plot, peak, bandwidth, ridge)
    longest = max(dot.us for dot in usable) or 1.0
    drawn = [
        plot.dot(
            dot.intensity,
            dot.speed,
            dot.kind,
            f"{shortened(shown(dot.name), 90)} · {told(dot.speed, 'MAC/s')} · {digits(dot.intensity)} MAC/B · "
            f"{told(dot.us, 'us')}{' · ' + dot.note if dot.note else ''}",
            3.5 + 7 * (max(dot.us, 0) / longest) ** 0.5,
        )
        for dot in usable
    ]
    return tag(
        "figure",
        tag("figcaption", tag("b", "Speed"), f" {unit}"),
        plot.draw(lines, drawn, words, x_label="multiply-adds for each byte"),
    )


def _roof(plot: Plot, peak: float, bandwidth: float, ridge: float) -> tuple[list[Child], list[Child]]:
    """Two lines that meet at the ridge, and in words what each is."""
    left = max(plot.x.low, plot.y.low / bandwidth)
    begin, top = plot.down(left * bandwidth), plot.down(peak)
    slope, level = f"memory {told(bandwidth, 'B/s')}", f"peak {told(peak, 'MAC/s')}"
    lines = [
        plot.line(left, left * bandwidth, ridge, peak, "roof"),
        plot.line(ridge, peak, plot.x.high, peak, "roof"),
    ]
    words = [
        tag("text", level, x="100%", y=top, dy=-8, class_="end roof-text"),
        tag("text", slope, x=plot.across(left), y=begin, dx=14, dy=14, class_="roof-text"),
    ]
    return list(lines), list(words)


def missing(why: str) -> Markup:
    """In the place of a chart that there is nothing to draw for."""
    return tag("p", f"Not available: {why}.", class_="missing")
