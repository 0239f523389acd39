"""Whatever a text holds, it stays text: nothing breaks out of an element or an attribute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.pages.element import Markup, document, joined, name, source, tag
from tests.pages.parsed import Page

HOSTILE = (
    "</script><img onerror=alert(1) src=x>",
    "\"' onload='x",
    "<!--",
    "]]>",
    "&lt;b&gt;",
    "&#x3c;",
    "\0\x1b[2J\n",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts_in_elements_and_attributes(text):
    page = Page(document(tag("p", text, title=text), tag("title", text)))

    shown = "".join("?" if sign in "\0\x1b\n" else sign for sign in text)
    assert [each for each, _ in page.tags] == ["html", "p", "title"] and not page.unclosed
    assert page.of("p") == [{"title": shown}] and page.words("p") == [" ".join(shown.split())]


@given(st.text(max_size=40))
def test_any_text_is_one_text(text):
    page = Page(document(tag("p", name(text), class_=text)))

    assert {each for each, _ in page.tags} == {"html", "p", "bdi"} and not page.unclosed
    assert set(page.of("p")[0]) == {"class"}


def test_marks_that_turn_the_direction_of_text_are_gone():
    turned = "cat\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{RIGHT-TO-LEFT ISOLATE}"

    assert tag("p", turned) == Markup("<p>cat?gnp.exe?</p>")


def test_markup_is_no_text_that_somebody_could_join():
    with pytest.raises(TypeError):
        "<p>" + tag("p", "a")  # type: ignore[operator]


def test_what_is_missing_is_left_out():
    assert joined(None, [], tag("p", None, id=None, hidden=False), 0) == Markup("<p></p>0")


@pytest.mark.parametrize(("element", "text"), [("script", "</script>"), ("style", "<!-- x"), ("p", "a")])
def test_only_whole_scripts_and_styles_are_taken_as_they_are(element, text):
    with pytest.raises(ValueError, match="would end it, or it is no script"):
        source(element, text)


@pytest.mark.parametrize("length", [1, 56, 57, 16_384])
def test_long_names_lose_their_middle_and_keep_it_in_a_title(length):
    text = "layer" * (length // 5) + "." * (length % 5)

    page = Page(document(name(text)))

    (words,), (attributes,) = page.words("bdi"), page.of("bdi")
    assert (words == text) == (length <= 56) and len(words) <= 56
    assert ("title" in attributes) == (length > 56) and len(attributes.get("title") or "") <= 500
