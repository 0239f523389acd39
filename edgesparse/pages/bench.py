"""The page of `bench`: an artifact beside other runtimes, and its own kernel calls one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesparse.pages import frame
from edgesparse.pages.bars import Row, rows, times
from edgesparse.pages.element import Child, Markup, joined, name, tag
from edgesparse.pages.facts import ArtifactFacts, Roof
from edgesparse.pages.frame import Section
from edgesparse.pages.grid import LAYER, NUMBER, Cell, Column, grid
from edgesparse.pages.layers import memory_section, number, roofline_section, table_section, time_section, timed
from edgesparse.pages.quantities import big, plain, told

if TYPE_CHECKING:
    from edgesparse.measure import BenchReport


def bench_page(report: BenchReport, facts: ArtifactFacts | None = None, where: str = "this machine") -> str:
    """The report as a page; with the facts of the artifact, also its memory and roofline.

    Args: where: the device that it was measured on.
    """
    ours = report.contenders[0]
    median = ours.latency.median_us
    spread = f"p10 {told(ours.latency.p10_us, 'us')}, p90 {told(ours.latency.p90_us, 'us')}"
    figures = [
        plain("Median of an inference", median, "us", str(ours.latency.origin), spread),
        plain("Inferences each second", 1e6 / median if median else None, "count", "", "one after the other"),
        big("Memory, peak", ours.memory.peak),
        *([plain("File", facts.file_bytes, "bytes", "")] if facts else []),
    ]
    sections = [_contenders(report)]
    if report.steps:
        steps = timed(facts, [(each.name, each.op, each.kernel, each.median_us) for each in report.steps])
        sections += [time_section(steps), table_section(steps, facts.roof if facts else Roof())]
        if facts:
            sections.append(roofline_section(steps, facts.roof))
    if facts:
        sections.append(memory_section(facts))
    sections.append(_how(report))
    threads = f"{report.threads} thread" + ("s" if report.threads > 1 else "")
    about: tuple[Child, ...] = ("on ", tag("b", name(where)), f", {threads}, {ours.latency.runs:,} runs")
    if facts:
        about = (*about, ", compiled for ", name(facts.target), " from ", name(facts.model))
    return frame.page("bench", facts.file if facts else ours.model, about, figures, sections)


def _contenders(report: BenchReport) -> Section:
    bars = [
        Row(
            name(each.runtime),
            each.latency.median_us,
            told(each.latency.median_us, "us"),
            "sparse" if at == 0 else "dense",
            each.latency.p10_us,
            each.latency.p90_us,
        )
        for at, each in enumerate(report.contenders)
    ]
    memory = [
        Row(name(each.runtime), each.memory.peak.value, told(each.memory.peak.value, "bytes"), "memory")
        for each in report.contenders
    ]
    columns = [
        Column("Runtime", LAYER),
        *(Column(word, NUMBER) for word in ("Median, µs", "p10, µs", "p90, µs", "Over ours", "Memory, MiB", "Runs")),
    ]
    table: list[list[Child | Cell]] = [
        [
            name(each.runtime),
            *map(number, (each.latency.median_us, each.latency.p10_us, each.latency.p90_us)),
            Cell(times(each.ratio), each.ratio),
            number(None if each.memory.peak.value is None else each.memory.peak.value / (1 << 20)),
            Cell(f"{each.latency.runs:,}", each.latency.runs),
        ]
        for each in report.contenders
    ]
    content = joined(
        tag(
            "div",
            frame.panel("Median time of an inference", rows(bars, "Median times; whiskers from p10 to p90")),
            frame.panel("Peak of memory", rows(memory, "Peaks of memory")),
            class_="panels",
        ),
        grid("contenders-table", "Runtimes, measured in turns", columns, table, "runtimes"),
    )
    alone = len(report.contenders) == 1
    heading, lead = (
        ("Latency and memory", "Whiskers reach from p10 to p90.")
        if alone
        else ("Side by side", "Measured in turns, so that noise hits all alike. Whiskers reach from p10 to p90.")
    )
    return Section("contenders", heading, content, lead)


def _how(report: BenchReport) -> Section:
    memory = report.contenders[0].memory
    lines = [
        ("Latency", "wall time of one inference, in a process of its own"),
        *((word.capitalize(), figure.how) for word, figure in vars(memory).items()),
    ]
    return Section("how", "How these figures were got", terms(lines))


def terms(lines: list[tuple[str, str]]) -> Markup:
    """Words and what they mean."""
    return tag("dl", ((tag("dt", name(word)), tag("dd", name(text, 400))) for word, text in lines), class_="terms")
