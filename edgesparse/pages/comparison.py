"""Several profiles side by side: a column an artifact, what is best in each row, and their networks on one scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesparse.pages.axes import Axis
from edgesparse.pages.bars import Part, Row, legend, network, rows, times
from edgesparse.pages.element import Markup, joined, name, shortened, tag
from edgesparse.pages.facts import ArtifactFacts
from edgesparse.pages.frame import Section, panel
from edgesparse.pages.layers import readout, timed
from edgesparse.pages.plot import Plot
from edgesparse.pages.quantities import digits, interval, known, step_of, tick, told
from edgesparse.tables import shown

if TYPE_CHECKING:
    from edgesparse_runtime import Profile

    from edgesparse.measure import Figure


@dataclass(frozen=True)
class _Line:
    """A row of the comparison: its values in words, with what belongs below each, and what is better."""

    word: str
    values: Sequence[float | None]
    unit: str
    below: Sequence[str]
    better: str = "less"
    has_ratio: bool = True


def comparison_sections(
    profiles: Mapping[str, Profile], facts: Mapping[str, ArtifactFacts], accuracy: Mapping[str, float]
) -> list[Section]:
    """The sections that compare."""
    found = [_table(profiles, facts, accuracy), _ranges(profiles)]
    if len([title for title in profiles if title in accuracy]) > 1:
        found.append(_against(profiles, accuracy))
    if any(profile.steps for profile in profiles.values()):
        found.append(_networks(profiles, facts))
    return found


def _table(
    profiles: Mapping[str, Profile], facts: Mapping[str, ArtifactFacts], accuracy: Mapping[str, float]
) -> Section:
    def figures(word: str, read: Callable[[Profile], Figure], better: str = "less") -> _Line:
        every = [read(profile) for profile in profiles.values()]
        return _Line(word, [known(each.value) for each in every], every[0].unit, list(map(_below, every)), better)

    sizes = [facts[title].file_bytes if title in facts else None for title in profiles]
    scores = [known(accuracy.get(title)) for title in profiles]
    lines = [
        figures("median", lambda p: p.median),
        figures("p99", lambda p: p.p99),
        figures("sustained", lambda p: p.sustained),
        figures("first inference", lambda p: p.first),
        figures("energy of an inference, net", lambda p: p.energy.net),
        figures("power while it runs", lambda p: p.energy.mean),
        figures("memory, peak", lambda p: p.memory.peak),
        figures("battery", lambda p: p.battery, "more"),
        _Line("file", sizes, "bytes", [""] * len(profiles)),
        _Line("accuracy", scores, "", [""] * len(profiles), "more", has_ratio=False),
    ]
    heads = (tag("th", name(title, 40), scope="col") for title in profiles)
    body = (_row(line) for line in lines if line.word != "accuracy" or accuracy)
    table = tag(
        "table",
        tag("caption", "Artifacts side by side"),
        tag("thead", tag("tr", tag("td"), heads)),
        tag("tbody", body),
        class_="compared",
    )
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Artifacts side by side")
    return Section("side", "Side by side", box, "The best of each row is marked; ratios are to the first column.")


def _below(figure: Figure) -> str:
    """What is said below a figure: its interval and where it is from, or why it is missing."""
    if known(figure.value) is None:
        return shortened(shown(figure.how), 120)
    return " · ".join(word for word in (interval(figure), str(figure.origin)) if word)


def _row(line: _Line) -> Markup:
    found = [value for value in line.values if value is not None]
    best = (min if line.better == "less" else max)(found) if found and min(found) < max(found) else None
    first = line.values[0] if line.has_ratio else None
    cells = []
    for at, (value, below) in enumerate(zip(line.values, line.below, strict=True)):
        ratio = f"{times(value / first)} the first" if at and value is not None and first else ""
        words = " · ".join(word for word in (ratio, below) if word)
        mark = tag("span", "best", class_="best") if value is not None and value == best else None
        cells.append(tag("td", told(value, line.unit), mark, tag("small", words) if words else None))
    return tag("tr", tag("th", line.word, scope="row"), cells)


def _ranges(profiles: Mapping[str, Profile]) -> Section:
    bars = [
        Row(name(title, 40), p.median.value, told(p.median.value, "us"), "sparse", p.p10.value, p.p99.value)
        for title, p in profiles.items()
    ]
    energy = [
        Row(name(title, 40), e.net.value, told(e.net.value, e.net.unit), "watts", e.net.low, e.net.high)
        for title, p in profiles.items()
        for e in [p.energy]
    ]
    memory = [
        Row(name(title, 40), p.memory.peak.value, told(p.memory.peak.value, "bytes"), "memory")
        for title, p in profiles.items()
    ]
    panels = [panel("Median time, from p10 to p99", rows(bars, "Median times; whiskers from p10 to p99"))]
    if any(known(row.value) is not None for row in energy):
        panels.append(panel("Net energy of an inference", rows(energy, "Net energy of an inference")))
    panels.append(panel("Peak of memory", rows(memory, "Peaks of memory")))
    return Section("ranges", "At a glance", tag("div", panels, class_="panels"))


def _against(profiles: Mapping[str, Profile], accuracy: Mapping[str, float]) -> Section:
    """Accuracy over the median time; what is above and to the left is better."""
    points = [
        (title, median, score)
        for title, profile in profiles.items()
        if (median := known(profile.median.value)) is not None and (score := known(accuracy.get(title))) is not None
    ]
    size, unit = step_of(max((median for _, median, _ in points), default=1.0), "us")
    plot = Plot(
        Axis.around([median for _, median, _ in points], zero=True),
        Axis.around([score for _, _, score in points]),
        "Accuracy over time: "
        + "; ".join(f"{shortened(shown(t), 40)} {digits(s)} in {told(m, 'us')}" for t, m, s in points),
        lambda value: tick(value / size),
        tick,
        240,
    )
    drawn = (
        (
            plot.dot(
                median, score, "sparse", f"{shortened(shown(title), 90)}: {digits(score)}, {told(median, 'us')}", 6
            ),
            tag(
                "text",
                shortened(shown(title), 28),
                x=plot.across(median),
                y=plot.down(score),
                dx=-10 if plot.x.at(median) > 0.6 else 10,
                dy=4,
                class_="end" if plot.x.at(median) > 0.6 else None,
            ),
        )
        for title, median, score in points
    )
    heading = tag("figcaption", tag("b", "Accuracy"), " score")
    chart = tag("figure", heading, plot.draw(drawn, x_label=f"median time of an inference, {unit}"))
    return Section("accuracy", "Accuracy against time", chart, "Above and to the left is better.")


def _networks(profiles: Mapping[str, Profile], facts: Mapping[str, ArtifactFacts]) -> Section:
    every = {
        title: [
            Part(each.facts.name, each.facts.kind, each.us, each.facts.op)
            for each in timed(facts.get(title), [(s.name, s.op, s.kernel, s.median_us) for s in profile.steps])
        ]
        for title, profile in profiles.items()
        if profile.steps
    }
    longest = max(sum(part.us for part in parts) for parts in every.values())
    bars = (
        tag(
            "div",
            tag(
                "p", tag("b", name(title)), " ", tag("span", told(sum(part.us for part in parts), "us"), class_="words")
            ),
            network(parts, shortened(shown(title), 80), longest),
            legend(parts),
            class_="against",
        )
        for title, parts in every.items()
    )
    lead = "Each network as a bar of its layers, all on one scale."
    return Section("networks", "Where the time goes", joined(bars, readout()), lead)
