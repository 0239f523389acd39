"""Sections of pages of measured steps: the network as a bar, its table, its memory, its roofline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgesparse.pages.bars import Part, legend, network, strip
from edgesparse.pages.charts import Dot, memory_over_steps, roofline
from edgesparse.pages.element import Child, Markup, joined, name, tag
from edgesparse.pages.facts import OTHER, ArtifactFacts, Roof, StepFacts, Work
from edgesparse.pages.frame import Section
from edgesparse.pages.grid import LAYER, NUMBER, Cell, Column, grid
from edgesparse.pages.quantities import NONE, digits, known, quantity, told

MOST_ROWS = 2_000
"""Rows of a table; of more layers, the slowest are shown."""


@dataclass(frozen=True)
class Timed:
    """A kernel call and what it took; p10 where it is known."""

    facts: StepFacts
    us: float
    p10_us: float | None = None
    tiles: int | None = None


def timed(facts: ArtifactFacts | None, steps: Sequence[tuple[str, str, str, float]]) -> list[Timed]:
    """Steps as they were measured: name, op, kernel and time; with what the artifact tells where it is the same."""
    known_steps = facts.steps if facts and [each.kernel for each in facts.steps] == [step[2] for step in steps] else ()
    found = list(known_steps) or [
        StepFacts(title, op, kernel, OTHER, "", None, Work(None, 0)) for title, op, kernel, _ in steps
    ]
    return [Timed(fact, max(known(step[3]) or 0.0, 0.0)) for fact, step in zip(found, steps, strict=True)]


def time_section(steps: Sequence[Timed], key: str = "time") -> Section:
    """The network as a bar of its layers."""
    parts = [Part(each.facts.name, each.facts.kind, each.us, each.facts.op) for each in steps]
    lead = "Every kernel call of the plan in its order, as wide as its median time."
    bar = joined(network(parts, "The network by time"), readout(), legend(parts))
    return Section(key, "Where the time goes", bar, lead)


def readout() -> Markup:
    """Where the script tells the layer under the pointer, or that arrow keys have reached."""
    return tag("p", class_="readout", aria_live="polite")


def memory_section(facts: ArtifactFacts, key: str = "memory") -> Section:
    """The arena over the steps, and the sizes of the file's parts."""
    sizes = [
        ("file", facts.file_bytes),
        ("weights and indices", facts.weights_bytes),
        ("code", facts.code_bytes),
        ("arena", facts.arena_bytes),
        ("scratch of each thread", facts.scratch_bytes),
    ]
    told_sizes = tag(
        "dl", (tag("div", tag("dt", word), tag("dd", told(size, "bytes"))) for word, size in sizes), class_="facts"
    )
    chart = memory_over_steps(facts.used_bytes, facts.arena_bytes, [step.name for step in facts.steps])
    lead = "What the plan holds at each step: values that a later step still reads, in one arena planned ahead."
    return Section(key, "Memory over the plan's steps", joined(chart, told_sizes), lead)


def roofline_section(steps: Sequence[Timed], roof: Roof, key: str = "roofline") -> Section:
    """How near to the machine's limits each layer runs."""
    dots = [
        Dot(
            each.facts.name,
            each.facts.kind,
            each.facts.work.intensity,
            (each.facts.work.multiply_adds or 0.0) / each.us * 1e6 if each.us > 0 else 0.0,
            each.us,
            bound_words(roof, each.facts.work),
        )
        for each in steps
    ]
    return Section(key, "Roofline", joined(roofline(dots, roof), bound_line(dots, roof)), ROOFLINE_LEAD)


ROOFLINE_LEAD = (
    "Each dot is a layer, as large as its time. Bytes are its operands, each once: values that stay in a cache come "
    "cheaper. Zeros that a kernel skips are no multiply-adds."
)


def bound_words(roof: Roof, work: Work) -> str:
    """What limits a layer, in words."""
    bound = roof.bound(work)
    return f"bound by {bound}" if bound else ""


def bound_line(dots: Sequence[Dot], roof: Roof) -> Markup:
    """How many layers are bound by memory, and what share of the time they are; or why nobody knows."""
    if roof.ridge is None:
        return tag("p", f"No roof is drawn: {roof.why or 'the limits of the target are not known'}.", class_="missing")
    usable = [dot for dot in dots if dot.intensity > 0]
    memory = [dot for dot in usable if dot.intensity < (roof.ridge or 0)]
    total = sum(dot.us for dot in dots) or 1.0
    part = 100 * sum(dot.us for dot in memory) / total
    words = (
        f"{len(memory)} of {len(usable)} layers are bound by memory, {part:.0f} % of the time; the others by compute."
    )
    why = f"The ridge is at {digits(roof.ridge)} multiply-adds for each byte, from the facts of the target, in float32."
    return tag("p", tag("b", words), " ", why, class_="line")


def table_section(steps: Sequence[Timed], roof: Roof, key: str = "layers") -> Section:
    """Every step with what is known of it."""
    kept = slowest(steps)
    total = sum(each.us for each in steps) or 1.0
    longest = max((each.us for each in steps), default=1.0) or 1.0
    columns = [
        Column("Step", NUMBER),
        Column("Layer", LAYER),
        Column("Kernel", "kernel"),
        Column("Density", NUMBER),
        Column("p10, µs", NUMBER),
        Column("Median, µs", NUMBER),
        Column("MMAC", NUMBER),
        Column("KiB", NUMBER),
        Column("GMAC/s", NUMBER),
        Column("Limit"),
    ]
    rows: list[list[Child | Cell]] = [
        [
            str(at + 1),
            layer_cell(each.facts.name, each.facts.op, each.facts.types),
            kernel_cell(each.facts),
            density_cell(each.facts),
            number(each.p10_us),
            time_cell(each, longest, total),
            number(_mega(each.facts.work.multiply_adds)),
            number(each.facts.work.moved_bytes / 1024 or None),
            number(_giga(each)),
            roof.bound(each.facts.work) or NONE,
        ]
        for at, each in kept
    ]
    left = len(steps) - len(kept)
    more = (
        f" The other {left:,} take {100 * (1 - sum(each.us for _, each in kept) / total):.1f} % together."
        if left
        else ""
    )
    lead = f"One row for each kernel call.{more}"
    return Section(key, "Layers", grid(f"{key}-table", "Kernel calls of the plan", columns, rows), lead)


def slowest(steps: Sequence[Timed]) -> list[tuple[int, Timed]]:
    """The steps that a table has room for, with their numbers, in their order."""
    order = sorted(range(len(steps)), key=lambda at: -steps[at].us)[:MOST_ROWS]
    return [(at, steps[at]) for at in sorted(order)]


def layer_cell(title: str, op: str, types: str = "") -> Markup:
    """A layer's name, and below it what it computes."""
    below = " · ".join(word for word in (op, types) if word)
    return joined(name(title, 44), tag("small", name(below, 40)) if below else None)


def kernel_cell(facts: StepFacts) -> Markup:
    """Dense, sparse or neither, and the kernel's symbol."""
    return joined(chip(facts.kind), tag("small", name(facts.kernel, 36)))


def chip(kind: str) -> Child:
    """A word with its colour; nothing where there was nothing to choose."""
    return tag("span", kind, class_=f"chip {kind}") if kind != OTHER else tag("span", NONE, class_="chip")


def density_cell(facts: StepFacts) -> Cell:
    """The share of weights that are not zero, and a bar as long."""
    found = facts.density
    return number(None) if found is None else Cell((f"{found:.3f}", strip(found, facts.kind)), found)


def time_cell(each: Timed, longest: float, total: float) -> Cell:
    """The time of a call, a bar as long, and its share of the network's."""
    bar = strip(each.us / longest, each.facts.kind)
    return Cell((quantity(each.us, "")[0], bar, tag("small", f"{100 * each.us / total:.1f} %")), each.us)


def number(value: float | None) -> Cell:
    """A cell with a number of three digits."""
    return Cell(quantity(value, "")[0], known(value))


def _mega(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def _giga(each: Timed) -> float | None:
    work = each.facts.work.multiply_adds
    return work / each.us / 1e3 if work and each.us > 0 else None


def with_p10(steps: Sequence[Timed], p10: Sequence[float | None]) -> list[Timed]:
    """The steps with their tenth percentiles."""
    return [replace(step, p10_us=value) for step, value in zip(steps, p10, strict=True)]
