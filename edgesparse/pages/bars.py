"""Bars of HTML and SVG: a network as a bar of its layers, and rows of bars to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesparse.pages.axes import Axis
from edgesparse.pages.element import Child, Markup, shortened, tag
from edgesparse.pages.plot import share
from edgesparse.pages.quantities import digits, known, told
from edgesparse.tables import shown

NARROWEST = 0.0008
"""Share of a bar below which neighbours are drawn as one."""

KINDS = {"dense": "dense", "sparse": "sparse", "other": "no choice"}
"""Classes of parts, and what the legend calls them."""


@dataclass(frozen=True)
class Part:
    """A layer of a network: its time, and whether its kernel is dense, sparse or there is none to choose."""

    name: str
    kind: str
    us: float
    note: str = ""


def network(parts: Sequence[Part], label: str, longest_us: float | None = None) -> Markup:
    """A network as a bar of its layers, each as wide as it takes time.

    Args:
        label: what it is, for screen readers too.
        longest_us: what a full bar stands for; the network's own time by default.
    """
    parts = [part for part in parts if (known(part.us) or 0) > 0]
    total = sum(part.us for part in parts)
    whole = max(longest_us or total, total) or 1.0
    top = sorted(parts, key=lambda part: -part.us)[:3]
    most = "; most in " + ", ".join(f"{shortened(shown(part.name), 60)} {told(part.us, 'us')}" for part in top)
    drawn, at = list[Markup](), 0.0
    for group in _grouped(parts, whole * NARROWEST):
        us = sum(part.us for part in group)
        kind = group[0].kind if len({part.kind for part in group}) == 1 else "other"
        drawn.append(
            tag(
                "rect",
                tag("title", _words(group, us, total)),
                x=share(at / whole),
                width=share(us / whole),
                height="100%",
                class_=kind,
            )
        )
        at += us
    svg = tag(
        "svg",
        drawn,
        role="img",
        aria_label=f"{label}: {len(parts)} layers, {told(total, 'us')}{most if top else ''}",
        width="100%",
        height="100%",
    )
    return tag("div", svg, class_="network", data_label=label)


def _grouped(parts: Sequence[Part], least: float) -> Iterable[list[Part]]:
    """Parts by themselves, and neighbours together that are narrower than `least`, up to that."""
    group, us = list[Part](), 0.0
    for part in parts:
        if group and (part.us >= least or us >= least):
            yield group
            group, us = [], 0.0
        group.append(part)
        us += part.us
        if part.us >= least:
            yield group
            group, us = [], 0.0
    if group:
        yield group


def _words(group: Sequence[Part], us: float, total: float) -> str:
    what = shortened(shown(group[0].name), 90) if len(group) == 1 else f"{len(group)} small layers"
    kind = KINDS[group[0].kind] if len({part.kind for part in group}) == 1 else "mixed"
    note = f" · {group[0].note}" if len(group) == 1 and group[0].note else ""
    return f"{what} · {told(us, 'us')} · {100 * us / total:.1f} % · {kind}{note}"


def legend(parts: Sequence[Part]) -> Markup:
    """What the colours mean, and what share of the time each has."""
    total = sum(part.us for part in parts) or 1.0
    shares = {kind: sum(part.us for part in parts if part.kind == kind) / total for kind in KINDS}
    return tag(
        "ul",
        (
            tag("li", swatch(kind), f"{KINDS[kind]} ", tag("b", _percent(part)))
            for kind, part in shares.items()
            if part > 0
        ),
        class_="legend",
    )


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.005 else "under 1 %"


def swatch(kind: str) -> Markup:
    """A little square of a colour."""
    return tag("span", class_=f"swatch {kind}", aria_hidden="true")


def strip(share_of: float, kind: str, mark: float | None = None) -> Markup:
    """A thin bar inside a cell, beside the number that it shows, with a mark on it."""
    line = tag("line", x1=share(mark), x2=share(mark), y1="-2", y2="10", class_="tick") if mark is not None else None
    return tag(
        "svg",
        tag("rect", width="100%", height="8", rx="2", class_="track"),
        tag("rect", width=share(min(max(share_of, 0.0), 1.0)), height="8", rx="2", class_=kind),
        line,
        class_="strip",
        height="8",
        aria_hidden="true",
    )


@dataclass(frozen=True)
class Row:
    """A bar with a name and a value in words; `low` and `high` are the ends of a whisker."""

    name: Child
    value: float | None
    words: Child
    kind: str = "sparse"
    low: float | None = None
    high: float | None = None


def rows(every: Sequence[Row], says: str) -> Markup:
    """Bars below one another on one scale, which begins at 0."""
    found = [row for row in every if known(row.value) is not None]
    axis = Axis.around([value for row in found for value in (row.value, row.high, 0.0) if value is not None], zero=True)
    return tag("div", (_row(row, axis) for row in every), class_="rows", role="list", aria_label=says)


def _row(row: Row, axis: Axis) -> Markup:
    value = known(row.value)
    bar: list[Markup] = []
    if value is not None:
        bar.append(tag("rect", width=share(axis.at(value)), height="100%", rx="3", class_=row.kind))
    if value is not None and known(row.low) is not None and known(row.high) is not None:
        ends = [share(axis.at(float(end))) for end in (row.low, row.high) if end is not None]
        bar.append(tag("line", x1=ends[0], x2=ends[1], y1="50%", y2="50%", class_="whisker"))
        bar += [tag("line", x1=end, x2=end, y1="25%", y2="75%", class_="whisker") for end in ends]
    return tag(
        "div",
        tag("span", row.name, class_="name"),
        tag("svg", bar, class_="bar", width="100%", height="18", aria_hidden="true"),
        tag("span", row.words, class_="words"),
        class_="row",
        role="listitem",
    )


def times(ratio: float) -> str:
    """How many times as fast."""
    return f"{digits(ratio)}\N{MULTIPLICATION SIGN}"
