"""HTML and SVG as values: all text is escaped where it becomes markup, so that nothing can be forgotten."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from edgesparse.tables import shown

_VOID = frozenset({"br", "input", "meta"})
"""Elements that have no end."""

_RAW = frozenset({"script", "style"})
"""Elements whose text is no markup; it is ours, never a file's."""


@dataclass(frozen=True)
class Markup:
    """What is markup already. Only the functions of this file make it, and it is no `str`, so that nobody joins it."""

    text: str


Child: TypeAlias = Markup | str | int | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """An element. Texts are escaped, and hold no character that moves a cursor; None is left out.

    Args:
        attributes: `class_` is class, `aria_label` is aria-label; one that is None or False is left out.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{told}>")
    inner = "".join(_texts(children))
    return Markup(f"<{name}{told}>{inner}</{name}>")


def joined(*children: Child) -> Markup:
    """Elements beside one another."""
    return Markup("".join(_texts(children)))


def source(name: str, text: str) -> Markup:
    """A script or a style that is part of this package.

    Raises: ValueError: it is neither, or the text would end it.
    """
    if name not in _RAW or "</" in text or "<!--" in text:
        raise ValueError(f"{name}: its text would end it, or it is no script")
    return Markup(f"<{name}>{text}</{name}>")


def document(*children: Child) -> str:
    """A whole page, from what stands within `html`."""
    return f"<!doctype html>\n{tag('html', *children, lang='en').text}\n"


def name(text: object, most: int = 56) -> Markup:
    """What a file calls something: isolated from the text around it, and without its middle where it is long."""
    whole = shown(text)
    if len(whole) <= most:
        return tag("bdi", whole)
    return tag("bdi", shortened(whole, most), title=shortened(whole, 500))


def shortened(text: str, most: int) -> str:
    """A text without its middle where it is longer."""
    tail = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    word = key.rstrip("_").replace("_", "-")
    return f" {word}" if value is True else f' {word}="{_escaped(str(value))}"'


def _texts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child.text
        elif isinstance(child, str | int):
            yield _escaped(str(child))
        elif child is not None:
            yield from _texts(child)


def _escaped(text: str) -> str:
    """Nothing that ends an element or an attribute, moves a cursor, or turns the direction of what follows."""
    if text.isascii() and text.isprintable():
        return escape(text)
    return escape("".join("?" if unicodedata.bidirectional(sign) in _TURNING else sign for sign in shown(text)))


_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
