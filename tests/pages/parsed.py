"""A page as an HTML parser sees it."""

from __future__ import annotations

import html.parser

VOID = {"meta", "input", "br"}


class Page(html.parser.HTMLParser):
    """Its elements with their attributes, all of its text, and the text of each element by its tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.unclosed: list[str] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        self.unclosed += [tag for tag, _ in self._open]

    @property
    def text(self) -> str:
        return " ".join(self.words("html"))

    def of(self, wanted: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == wanted]

    def words(self, wanted: str) -> list[str]:
        return [" ".join(text.split()) for tag, text in self.texts if tag == wanted]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_endtag(self, tag):
        opened, words = self._open.pop()
        if opened != tag:
            self.unclosed.append(opened)
        self.texts.append((tag, " ".join(words)))

    def handle_data(self, data):
        for tag, words in self._open:
            if not any(each in ("script", "style") for each, _ in self._open) or tag in ("script", "style"):
                words.append(data)
