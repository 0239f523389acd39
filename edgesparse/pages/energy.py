"""The section of energy: what the device consumed, by which meter, window by window, or why nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesparse.pages.axes import Axis
from edgesparse.pages.bars import Row, rows, swatch
from edgesparse.pages.charts import missing
from edgesparse.pages.element import Markup, joined, name, shortened, tag
from edgesparse.pages.frame import Section, details, panel, simple
from edgesparse.pages.plot import Plot
from edgesparse.pages.quantities import NONE, interval, known, tick, told
from edgesparse.tables import Table, shown

if TYPE_CHECKING:
    from edgesparse_runtime._profile import EnergyProfile, Window

    from edgesparse.measure import Figure


def energy_section(energy: EnergyProfile, battery: Figure, key: str = "energy") -> Section:
    """Gross and net energy, power with and without the model, the rails, and the windows."""
    if all(known(figure.value) is None for figure in (energy.idle, energy.mean, energy.gross, energy.net)):
        why = shortened(shown(energy.gross.how), 500)
        return Section(key, "Energy", tag("p", f"Not available: {why}", class_="missing"))
    power = [_row("idle", energy.idle, "dense"), _row("while it runs", energy.mean, "watts")]
    each = [_row("gross", energy.gross, "watts"), _row("net", energy.net, "sparse")]
    content = joined(
        tag(
            "div",
            panel("Power", rows(power, "Power, idle and while the model runs")),
            panel("Energy of an inference", rows(each, "Energy of an inference, gross and net")),
            class_="panels",
        ),
        _windows(energy.windows),
        tag(
            "p",
            "Battery: ",
            tag("b", told(battery.value, battery.unit)),
            f" ({shortened(shown(battery.how), 300)})",
            class_="line",
        ),
        details("Meter, rails and windows", *_tables(energy)),
    )
    lead = (
        "Read by ",
        tag("b", name(energy.meter or "no meter")),
        ". Net is without what the device consumes idle; whiskers are 95 % intervals.",
    )
    return Section(key, "Energy", content, lead)


def _row(word: str, figure: Figure, kind: str) -> Row:
    words = (told(figure.value, figure.unit), tag("small", interval(figure) or shortened(shown(figure.how), 200)))
    return Row(word, figure.value, words, kind, figure.low, figure.high)


def _state(window: Window) -> str:
    return "running" if window.busy else "idle"


def _seconds(window: Window) -> float | None:
    ns = known(window.end_unix_ns - window.begin_unix_ns)
    return None if ns is None else ns / 1e9


def _watts(window: Window) -> float | None:
    seconds, joules = _seconds(window), known(window.joules)
    return known(joules / seconds) if joules is not None and seconds is not None and seconds > 0 else None


def _windows(windows: tuple[Window, ...]) -> Markup:
    """Power over the time of the windows, those of the model apart from idle ones."""
    found = [(w, watts) for w in windows if (watts := _watts(w)) is not None and known(w.begin_unix_ns) is not None]
    if not found:
        return missing("no window holds enough samples")
    first, last = min(window.begin_unix_ns for window, _ in found), max(window.end_unix_ns for window, _ in found)
    least, most = min(watts for _, watts in found), max(watts for _, watts in found)
    plot = Plot(
        Axis(0, max((last - first) / 1e9, 1e-9)),
        Axis.around([watts for _, watts in found], zero=True),
        f"Power in {len(found)} windows: from {told(least, 'W')} to {told(most, 'W')}",
        tick,
        tick,
        140,
    )
    drawn = [
        plot.rect(
            (window.begin_unix_ns - first) / 1e9,
            (window.end_unix_ns - first) / 1e9,
            0,
            watts,
            "watts" if window.busy else "dense",
            f"{_state(window)}: {told(watts, 'W')}, {window.runs:,} runs, {window.samples:,} samples",
        )
        for window, watts in found
    ]
    key = tag("ul", tag("li", swatch("watts"), "running"), tag("li", swatch("dense"), "idle"), class_="legend")
    heading = tag("figcaption", tag("b", "Power by window"), " W")
    return tag("figure", heading, plot.draw(drawn, x_label="seconds since the first window"), key)


def _tables(energy: EnergyProfile) -> list[Markup]:
    rails = [
        (rail.name, rail.reads, NONE if rail.shunt_ohm is None else f"{rail.shunt_ohm:g} Ω")
        for rail in energy.rails[:100]
    ]
    windows = [
        (
            _state(window),
            told(_seconds(window), "s"),
            f"{window.runs:,}",
            f"{window.samples:,}",
            told(window.joules, "J"),
            told(_watts(window), "W"),
        )
        for window in energy.windows[:200]
    ]
    return [
        simple(Table(("rail", "reads", "shunt"), rails), "Rails"),
        simple(Table(("window", "length", "runs", "samples", "energy", "power"), windows), "Windows"),
    ]
