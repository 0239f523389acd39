"""The frame of a page: its head, style and script, and the sections that it is made of."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgesparse.pages.element import Child, Markup, document, joined, name, shortened, source, tag
from edgesparse.tables import Table, shown


@dataclass(frozen=True)
class Section:
    """A part of a page that has a heading; `key` is its id, `lead` says what there is to see."""

    key: str
    heading: str
    content: Markup
    lead: Child = None


def page(kind: str, title: str, about: Child, figures: Sequence[Markup], sections: Sequence[Section]) -> str:
    """A page that needs nothing else: nothing in it is fetched, and no script but its own is run.

    Args:
        kind: the command that made it.
        title: what it is about, as a file calls it.
        about: a line below the title.
        figures: the numbers to see first.
    """
    whole = shortened(shown(title), 200)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{whole} · edgesparse {kind}"),
        source("style", _text("page.css")),
    )
    links = (tag("li", tag("a", each.heading, href=f"#{each.key}")) for each in sections)
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag(
            "header",
            tag("p", "edgesparse ", tag("b", kind), class_="kind"),
            tag("h1", name(whole, 80)),
            tag("p", about, class_="about"),
            tag("dl", figures, class_="bigs") if figures else None,
            tag("nav", tag("ul", links), aria_label="On this page") if len(sections) > 1 else None,
        ),
        tag("main", map(_section, sections), id="content", tabindex="-1"),
        source("script", _text("page.js")),
    )
    return document(head, body)


def _section(section: Section) -> Markup:
    heading = f"{section.key}-heading"
    return tag(
        "section",
        tag("h2", section.heading, id=heading),
        tag("p", section.lead, class_="lead") if section.lead else None,
        section.content,
        id=section.key,
        aria_labelledby=heading,
    )


def panel(heading: str, *children: Child, class_: str = "") -> Markup:
    """A box with a heading of the third level."""
    return tag("div", tag("h3", heading), *children, class_=f"panel {class_}".strip())


def told(parts: Sequence[object]) -> Markup:
    """What a report says in lines, notes and tables."""
    return joined(
        simple(part) if isinstance(part, Table) else tag("p", shortened(shown(part), 2000), class_="line")
        for part in parts
    )


def simple(table: Table, caption: str = "") -> Markup:
    """A table of few rows as it is."""
    rows = (
        tag("tr", (tag("td", name(cell, 80)) if at else tag("th", name(cell, 80), scope="row") for at, cell in cells))
        for row in table.rows
        for cells in [list(enumerate(row))]
    )
    heads = tag("tr", (tag("th", head, scope="col") for head in table.headings))
    words = tag("caption", caption) if caption else None
    return tag(
        "div",
        tag("table", words, tag("thead", heads), tag("tbody", rows), class_="simple"),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or "Table",
    )


def details(summary: str, *children: Child) -> Markup:
    """What is there for whoever asks."""
    return tag("details", tag("summary", summary), *children)


@cache
def _text(file: str) -> str:
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """What a browser allows the page: its own style, and the one script that has this hash."""
    digest = base64.b64encode(hashlib.sha256(_text("page.js").encode()).digest()).decode()
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])
