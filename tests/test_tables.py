"""Reports print as short tables, and are HTML in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

import edgesparse
from edgesparse.tables import Note, Part, Report, Table
from tests.cli.models import classifier


class Told(Report):
    def parts(self) -> Iterator[Part]:
        yield "1 < 2 & 3"
        yield Table(("layer", "weights", "why"), [("<conv>", 12, "a & b"), ("fc", 3, "")])
        yield Note("seen")
        yield Note("mind", warning=True)


class Cells(HTMLParser):
    """What is in which element; an element that is not closed, or another that is, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found.append((self.open[-1], data))


def test_a_report_prints_lines_and_aligned_columns():
    assert str(Told()).splitlines() == [
        "1 < 2 & 3",
        "layer   weights  why",
        "<conv>       12  a & b",
        "fc            3",
        "note: seen",
        "warning: mind",
    ]
    assert repr(Told()) == str(Told())


def test_a_notebook_gets_the_same_as_html():
    cells = Cells(Told()._repr_html_()).found

    assert [text for tag, text in cells if tag == "p"] == ["1 < 2 & 3", "note: seen", "warning: mind"]
    assert [text for tag, text in cells if tag == "th"] == ["layer", "weights", "why"]
    assert [text for tag, text in cells if tag == "td"] == ["<conv>", "12", "a & b", "fc", "3"]


@pytest.mark.parametrize("headings", [("layer",), ("a", "b")])
def test_a_table_without_rows_is_its_headings(headings):
    assert Table(headings, []).text().split() == list(headings)
    assert [text for _, text in Cells(Table(headings, []).html()).found] == list(headings)


def test_what_the_commands_return_tells_itself(tmp_path):
    model = classifier(tmp_path / "model.onnx")
    compiled = edgesparse.compile(model, "host", tmp_path / "model.esp")
    reports = {
        "operators:": edgesparse.inspect(model),
        "runs on": edgesparse.inspect(compiled.artifact),
        "weighted layers run sparse": compiled,
        "of the prunable layers": edgesparse.prune(model, tmp_path / "sparse.onnx", sparsity=0.5),
        "weighted layers:": edgesparse.explain(model),
        "argmax": edgesparse.classify(compiled.artifact, top=0),
        "label": edgesparse.classify(compiled.artifact, top=2),
        "the outputs agree": edgesparse.verify(compiled.artifact, model),
        "peak memory": edgesparse.bench(compiled.artifact, seconds=0.1),
    }

    for words, report in reports.items():
        assert words in str(report)
        assert any(words in text for _, text in Cells(report._repr_html_()).found)
