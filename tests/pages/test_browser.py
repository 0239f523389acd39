"""The pages in a real browser: quiet, usable by keyboard, no wider than a phone, and named for screen readers."""

from __future__ import annotations

import base64
import re

import pytest

from edgesparse.pages.bars import KINDS
from tests.pages.browser import CHROMIUM, DRIVER, browser
from tests.pages.test_pages import HOSTILE, PAGES, builders, made, replace

pytestmark = [
    pytest.mark.slow(part="zoo"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every page, and those of a model with 12 and with 10,000 layers."""
    folder = tmp_path_factory.mktemp("pages")
    steps = tuple(replace(step, name=f"block{at}/{step.name}") for at in range(3) for step in made.STEPS)
    many = tuple(
        replace(made.STEPS[1], name=f"block{at}/{'long' * 40}", median_us=1.0 + at % 97) for at in range(10_000)
    )
    hostile = tuple(replace(step, name=HOSTILE + str(at), op=HOSTILE) for at, step in enumerate(steps))
    texts = dict(PAGES)
    for kind, each, label in (("12", steps, "m"), ("10000", many, "m"), ("hostile", hostile, HOSTILE)):
        texts |= {
            f"{name} {kind}": make()
            for name, make in builders(label, each).items()
            if name in ("explain", "bench", "profile")
        }
    found = {}
    for name, text in texts.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(text, encoding="utf-8")
    return found


NAMES = [*PAGES, *(f"{name} {kind}" for name in ("explain", "bench", "profile") for kind in ("12", "10000", "hostile"))]
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_a_page_is_quiet_and_no_wider_than_its_window(window, files, name, width, dark):
    window.messages()

    window.show(files[name], width=width, dark=dark)

    assert window.messages() == []
    assert window.run(OVERFLOW) <= 0
    assert window.run("return performance.getEntriesByType('resource').length") == 0
    assert window.run("return document.images.length + document.scripts.length") == 1
    ground = window.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark


def test_a_large_page_opens_quickly(window, files):
    window.show(files["explain 10000"])

    ended = window.run("const [entry] = performance.getEntriesByType('navigation'); return entry.loadEventEnd")

    assert 0 < ended < 10_000


def column(window, at):
    script = (
        "return [...document.querySelectorAll('#layers-table tbody tr')].map((r) => r.cells[arguments[0]].textContent)"
    )
    return window.run(script, at)


def focus(window, selector):
    script = "const e = document.querySelector(arguments[0]); e.focus(); return document.activeElement === e"
    return window.run(script, selector)


def left(window):
    """The names of the rows that the search has left."""
    rows = "[...document.querySelectorAll('#layers-table tbody tr')].filter((r) => !r.hidden)"
    return window.run(f"return {rows}.map((r) => r.cells[1].textContent)")


def test_columns_sort_by_keyboard_and_say_so(window, files):
    window.show(files["bench 12"])
    before = column(window, 0)
    head = "#layers-table th:nth-child({})"

    assert focus(window, head.format(5) + " button")
    states = []
    for key in ("Enter", "Space", "Enter"):
        window.press(key)
        states.append(window.run("return document.querySelector(arguments[0]).ariaSort", head.format(5)))
        times = [float(text.split(".")[0]) for text in column(window, 4)]
        assert times == sorted(times, reverse=states[-1] == "descending")
    assert states == ["descending", "ascending", "descending"]
    window.press("Tab")
    assert window.run("return document.activeElement.parentElement.cellIndex") == 5
    assert focus(window, head.format(1) + " button")
    window.press("Enter", "Enter")
    assert column(window, 0) == before
    assert window.run("return document.querySelectorAll('#layers-table [aria-sort]').length") == 1


def test_what_has_no_number_is_sorted_last_both_ways(window, files):
    window.show(files["bench 12"])

    for _ in range(2):
        assert focus(window, "#layers-table th:nth-child(4) button")
        window.press("Enter")
        texts = [text.strip("\N{EN DASH}") for text in column(window, 3)]
        assert texts[-3:] == ["", "", ""] and all(texts[:-3])


def test_the_search_leaves_rows_that_hold_every_word(window, files):
    window.show(files["bench 12"])

    assert focus(window, "#layers-table-search")
    window.press("CONV2 block1")

    assert [text.startswith("block1/conv2") for text in left(window)] == [True]
    assert window.run("return document.querySelector('.search .count').textContent") == "1 of 12 layers"
    assert window.run("return document.querySelector('.search label').control.id") == "layers-table-search"
    window.run("const e = document.querySelector('input'); e.value = ''; e.dispatchEvent(new Event('input'))")
    assert len(left(window)) == 12


def test_long_names_are_found_by_their_middle(window, files):
    window.show(files["bench 10000"])
    count = "return document.querySelector('.search .count').textContent"

    assert focus(window, "#layers-table-search")
    window.press("block96/long")

    assert window.run(count) == "1 of 2000 layers"


def test_arrow_keys_tell_the_layers_of_the_bar(window, files):
    window.show(files["bench 12"])
    told = "return document.querySelector('#time .readout').textContent"

    assert focus(window, "#time .network")
    first = window.run(told)
    window.press("Right")
    second = window.run(told)
    window.press("End")

    assert "arrow keys" in first and second.startswith("block0/image/planes · 42.0")
    assert window.run(told).startswith("block2/head · 4.50") and KINDS["dense"] in window.run(told)
    assert window.run("return document.querySelectorAll('#time rect.at').length") == 1


@pytest.mark.parametrize("name", ["explain", "bench", "profile", "profiles"])
def test_everything_has_a_name_for_a_screen_reader(window, files, name):
    window.show(files[name])

    nodes = [each for each in window.cdp("Accessibility.getFullAXTree")["nodes"] if not each.get("ignored")]
    roles = {}
    for each in nodes:
        roles.setdefault(each["role"]["value"], []).append(each.get("name", {}).get("value", ""))
    for role in (
        "image",
        "img",
        "table",
        "columnheader",
        "rowheader",
        "searchbox",
        "button",
        "link",
        "region",
        "heading",
    ):
        assert all(roles.get(role, ["named"])), role
    assert len(roles.get("image", roles.get("img", []))) >= 3
    assert len(roles["main"]) == 1 and len(roles["navigation"]) == 1


def test_the_skip_link_is_the_first_stop_and_is_seen(window, files):
    window.show(files["profile"])

    window.press("Tab")

    assert window.run("return document.activeElement.textContent") == "Skip to the content"
    assert window.run("return document.activeElement.getBoundingClientRect().left") >= 0
    window.press("Enter")
    assert window.run("return document.activeElement.id") == "content"


def test_no_text_of_a_page_is_hard_to_read(window, files):
    """Text has a contrast of 4.5 to its ground (WCAG AA), in both modes."""
    script = """
      const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
      const ground = (e) => {
        for (; e; e = e.parentElement) {
          const found = numbers(getComputedStyle(e).backgroundColor);
          if (found.length < 4 || found[3] > 0) return found;
        }
      };
      const poor = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walk.nextNode()) {
        const e = walk.currentNode.parentElement;
        if (!walk.currentNode.textContent.trim() || e.closest("script, title") || !e.getClientRects().length) continue;
        const style = getComputedStyle(e);
        const color = numbers(e.closest("svg") ? style.fill : style.color);
        const pair = [light(color), light(ground(e))].sort((a, b) => b - a);
        if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) poor.push(e.outerHTML.slice(0, 120));
      }
      return poor;"""
    for dark in (False, True):
        for name in ("explain", "bench", "profile", "profiles", "bare profile"):
            window.show(files[name], dark=dark)
            assert window.run(script) == [], (name, dark)


@pytest.mark.parametrize(("name", "most"), [("profile hostile", 8), ("explain hostile", 5), ("profiles", 16)])
def test_a_page_prints_on_few_sheets_without_what_only_a_screen_can_do(window, files, name, most):
    window.show(files[name])
    window.cdp("Emulation.setEmulatedMedia", {"media": "print"})

    hidden = window.run("return ['nav', '.search', '.readout'].every((s) => !document.querySelector(s)?.offsetHeight)")
    pdf = base64.b64decode(window.cdp("Page.printToPDF", {"printBackground": True})["data"])

    window.cdp("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden and 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= most


def test_all_is_there_without_a_script(window, files):
    window.cdp("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.show(files["bench 12"])
        shown = window.cdp("Accessibility.getFullAXTree")["nodes"]
    finally:
        window.cdp("Emulation.setScriptExecutionDisabled", {"value": False})

    roles = [each["role"]["value"] for each in shown if not each.get("ignored")]
    assert "searchbox" not in roles and "button" not in roles and roles.count("rowheader") >= 12
