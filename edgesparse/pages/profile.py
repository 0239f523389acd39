"""The page of `profile`: latency, memory, energy and battery of one artifact, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgesparse.pages import frame
from edgesparse.pages.bars import Row, rows
from edgesparse.pages.bench import terms
from edgesparse.pages.charts import Line, histogram, over_time
from edgesparse.pages.comparison import comparison_sections
from edgesparse.pages.element import Child, Markup, joined, name, shortened, tag
from edgesparse.pages.energy import energy_section
from edgesparse.pages.facts import ArtifactFacts, Roof
from edgesparse.pages.frame import Section
from edgesparse.pages.layers import memory_section, roofline_section, table_section, time_section, timed, with_p10
from edgesparse.pages.quantities import NONE, big, interval, known, origin, plain, told
from edgesparse.tables import Table, shown

if TYPE_CHECKING:
    from edgesparse_runtime import Profile
    from edgesparse_runtime._profile import State

    from edgesparse.measure import Figure

_SERIES = ("gross", "net", "idle", "mean")


def profile_page(
    profiles: Mapping[str, Profile],
    facts: Mapping[str, ArtifactFacts] | None = None,
    accuracy: Mapping[str, float] | None = None,
) -> str:
    """One profile as a page, or several as columns of one.

    Args:
        profiles: by what each is called, such as its artifact's file; at least one.
        facts: of the artifacts, by the same names; without one, its page has no memory over steps and no roofline.
        accuracy: scores by the same names, where they are known.

    Raises: ValueError: there is no profile.
    """
    facts, accuracy = facts or {}, accuracy or {}
    if not profiles:
        raise ValueError("profile_page: got no profile, expected at least one")
    if len(profiles) == 1:
        ((title, profile),) = profiles.items()
        figures = _figures(profile, facts.get(title), accuracy.get(title))
        return frame.page("profile", title, _about(profile), figures, _sections(profile, facts.get(title)))
    sections = comparison_sections(profiles, facts, accuracy)
    for number, (title, profile) in enumerate(profiles.items(), 1):
        inner = (_inner(section) for section in _sections(profile, facts.get(title), f"a{number}-"))
        whole = frame.details(
            f"All of {shortened(shown(title), 120)}", tag("p", _about(profile), class_="line"), *inner
        )
        sections.append(Section(f"a{number}", shortened(shown(title), 60), whole))
    places = sorted({shortened(shown(profile.where), 80) for profile in profiles.values()})
    about = ("on ", tag("b", ", ".join(places[:4]) + (", …" if len(places) > 4 else "")))
    return frame.page("profile", f"{len(profiles)} artifacts side by side", about, (), sections)


def _inner(section: Section) -> Markup:
    lead = tag("p", section.lead, class_="lead") if section.lead else None
    return tag("div", tag("h3", section.heading), lead, section.content, class_="inner", id=section.key)


def _about(profile: Profile) -> Child:
    threads = f"{profile.threads} thread" + ("s" if profile.threads != 1 else "")
    rate = (
        f"at {told(profile.rate_hz, '')} inferences each second" if profile.rate_hz else "one inference after the other"
    )
    return (
        "on ",
        tag("b", name(profile.where)),
        f", {threads}, {profile.runs:,} inferences in {told(profile.seconds, 's')}, {rate}",
    )


def _figures(profile: Profile, facts: ArtifactFacts | None, score: float | None) -> list[Markup]:
    median = known(profile.median.value)
    rate = 1e6 / median if median else None
    figures = [
        big("Median of an inference", profile.median, _percentile("p99", profile.p99)),
        plain("Inferences each second", rate, "count", "", "one after the other"),
        big("Energy of an inference, net", profile.energy.net),
        big("Memory, peak", profile.memory.peak),
    ]
    if facts:
        figures.append(plain("File", facts.file_bytes, "bytes", ""))
    if known(profile.battery.value) is not None:
        figures.append(big("Battery", profile.battery))
    if score is not None:
        figures.append(plain("Accuracy", score, "score", ""))
    return figures


def _sections(profile: Profile, facts: ArtifactFacts | None, prefix: str = "") -> list[Section]:
    steps = timed(facts, [(step.name, step.op, step.kernel, step.median_us) for step in profile.steps])
    steps = with_p10(steps, [known(step.p10_us) for step in profile.steps])
    found = [time_section(steps, f"{prefix}time")] if steps else []
    found += [_latency(profile, f"{prefix}latency"), _over_time(profile, f"{prefix}over-time")]
    found.append(energy_section(profile.energy, profile.battery, f"{prefix}energy"))
    found.append(_memory(profile, f"{prefix}process"))
    if facts:
        found.append(memory_section(facts, f"{prefix}memory"))
    if steps:
        found.append(table_section(steps, facts.roof if facts else Roof(), f"{prefix}layers"))
    if steps and facts:
        found.append(roofline_section(steps, facts.roof, f"{prefix}roofline"))
    return [*found, _how(profile, f"{prefix}how")]


def _percentile(word: str, figure: Figure) -> str:
    """A percentile in words, or why there is none."""
    return f"{word} {told(figure.value, 'us')}" if known(figure.value) is not None else shown(figure.how)


def _latency(profile: Profile, key: str) -> Section:
    marks = [("p10", profile.p10), ("median", profile.median), ("p90", profile.p90), ("p99", profile.p99)]
    words = ", ".join(_percentile(word, figure) for word, figure in marks)
    chart = histogram(
        profile.histogram,
        [(word, figure.value) for word, figure in marks],
        f"Histogram of {profile.runs} times: {words}",
    )
    every = [
        ("opening", profile.opened),
        ("first inference", profile.first),
        *marks,
        ("worst", profile.worst),
        ("burst: first tenth", profile.burst),
        ("sustained: last tenth", profile.sustained),
        ("missed deadlines", profile.missed),
    ]
    lead = "How many inferences took how long. A long tail means that something else ran, or that the clock fell."
    return Section(key, "Latency", joined(chart, figures_list(every)), lead)


def figures_list(every: list[tuple[str, Figure]]) -> Markup:
    """Figures in a list, each with its value and its origin, or why it is missing."""
    return tag("dl", (tag("div", tag("dt", word), tag("dd", value(figure))) for word, figure in every), class_="facts")


def value(figure: Figure) -> Child:
    """A figure in a line."""
    if known(figure.value) is None:
        return tag("span", f"not available: {shortened(shown(figure.how), 200)}", class_="missing")
    words = interval(figure)
    return (told(figure.value, figure.unit), tag("small", f" {words}") if words else None, " ", origin(figure.origin))


def _over_time(profile: Profile, key: str) -> Section:
    slots = [slot for slot in profile.slots if known(slot.begin_s) is not None and slot.begin_s >= 0]
    begins = [slot.begin_s for slot in slots]
    lines = [
        Line(
            "Latency",
            "us",
            "latency",
            [slot.median_us for slot in slots],
            [slot.p10_us for slot in slots],
            [slot.p90_us for slot in slots],
        ),
        Line("Temperature", "C", "temperature", [slot.temperature_c for slot in slots]),
        Line("Clock", "Hz", "clock", [slot.clock_hz for slot in slots]),
        Line("Power", "W", "watts", [slot.watts for slot in slots]),
    ]
    there = [line for line in lines if any(known(each) is not None for each in line.values)]
    drawn = [over_time(begins, profile.seconds, line, is_last=line is there[-1]) for line in there]
    absent = ", ".join(line.name.lower() for line in lines if line not in there)
    words = tag("p", f"Not recorded: {absent}.", class_="missing") if absent else None
    states = Table(
        ("state", "before", "after"),
        [
            (word, *(read(state) for state in (profile.before, profile.after)))
            for word, read in (
                ("temperature", lambda state: told(state.temperature_c, "C")),
                ("clock", lambda state: told(state.clock_hz, "Hz")),
                ("governor", lambda state: shown(state.governor or NONE)),
                ("held back by", _throttled),
            )
        ],
    )
    lead = "Medians of each sixtieth of the run, with the band from p10 to p90. What rises with heat is throttling."
    content = joined(drawn, words, frame.simple(states, "The device before and after"))
    return Section(key, "Over time", content, lead)


def _throttled(state: State) -> str:
    return ", ".join(state.throttled) or "nothing"


def _memory(profile: Profile, key: str) -> Section:
    memory = profile.memory
    bars = [
        Row(word, figure.value, (told(figure.value, figure.unit), _missing(figure)), "memory")
        for word, figure in (
            ("peak", memory.peak),
            ("mapped from files", memory.mapped),
            ("anonymous", memory.anonymous),
            ("arena", memory.arena),
            ("weights", memory.weights),
        )
    ]
    faults = figures_list([("minor page faults", memory.minor_faults), ("major page faults", memory.major_faults)])
    return Section(key, "Memory of the process", joined(rows(bars, "Memory of the process"), faults))


def _missing(figure: Figure) -> Child:
    return tag("small", shortened(shown(figure.how), 200)) if known(figure.value) is None else None


def _how(profile: Profile, key: str) -> Section:
    figures = {
        **{word: getattr(profile, word) for word in ("median", "first", "burst", "sustained", "missed", "battery")},
        **{f"energy, {word}": getattr(profile.energy, word) for word in _SERIES},
        **{f"memory, {word}": figure for word, figure in vars(profile.memory).items()},
    }
    lines = [(word, f"{figure.origin}: {figure.how}") for word, figure in figures.items()]
    return Section(key, "How these figures were got", terms(lines))
