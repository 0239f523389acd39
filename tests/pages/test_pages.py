"""Every page is whole by itself, escapes what files and devices say, and shows the numbers of its report."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace

import pytest
from edgesparse_runtime._profile import Step

from edgesparse import pages
from edgesparse.measure import BenchReport, Contender, Figure, Latency, Memory, StepTime
from edgesparse.pages.facts import ArtifactFacts, PlannedFacts, Roof, StepFacts, Work
from edgesparse.pipeline.explaining import ExplainReport, FixedLayer
from tests.pages import made
from tests.pages.parsed import Page

HOSTILE = '</script><img src=x onerror="alert(1)">\0\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}'
TIMES, NONE = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
SAID = '</script><img src=x onerror="alert(1)">??[31m?'


def facts(steps=made.STEPS, label="m") -> ArtifactFacts:
    known = [
        StepFacts(step.name, step.op, step.kernel, kind, "f32", density, Work(multiply_adds, 200_000))
        for step, kind, density, multiply_adds in zip(
            steps,
            ["other", "dense", "sparse", "dense"] * (len(steps) // 4),
            [None, 1.0, 0.25, 1.0] * (len(steps) // 4),
            [None, 442_368.0, 2_359_296.0, 640.0] * (len(steps) // 4),
            strict=True,
        )
    ]
    return ArtifactFacts(
        file=f"{label}.esp",
        file_bytes=3_355_443,
        model=f"{label}.onnx",
        target="rpi5",
        weights_bytes=3_000_000,
        code_bytes=40_000,
        arena_bytes=1 << 20,
        scratch_bytes=4096,
        steps=tuple(known),
        used_bytes=tuple(1 << (20 - at % 8) for at in range(len(steps))),
        roof=Roof(76.8e9, 17e9),
    )


def plan(layer="conv1", us=120.0, **more):
    """What a row of `explain` reads of a layer's plan."""
    sizes = {"m": 64, "k": 576, "n": 196, "types": "f32", "density": 0.2, "break_even": 0.8}
    times = {"dense_us": 3 * us, "sparse_us": us, "predicted_us": us, "told": lambda: ("0.200", "0.800")}
    words = {"op": "Conv", "kernel": "sparse", "choice": "sparse, 2 rows", "reason": "sparse wins"}
    return SimpleNamespace(layer=layer, **sizes, **times, **words, **more)


def explained(layers=None, label="m") -> ExplainReport:
    return ExplainReport(
        model=f"{label}.onnx",
        target="rpi4",
        threads=2,
        origin="estimated",
        source=f"the {label} core",
        layers=tuple(layers or (plan(), plan("conv2", 80.0))),
        fixed=(FixedLayer(f"each {label}", "Conv", "depthwise: a kernel of its own", 40.0),),
        rest_us=60.0,
        other_ops={"Relu": 3},
        notes=(f"batch size 1 is assumed of {label}",),
    )


def benched(steps=made.STEPS, label="m") -> BenchReport:
    memory = Memory(**{word: made.measured(1_572_864, "bytes") for word in ("peak", "mapped", "anonymous")})
    none = Memory(**{word: Figure.unavailable("bytes", "no /proc") for word in ("peak", "mapped", "anonymous")})
    return BenchReport(
        2,
        (
            Contender("edgesparse", f"{label}.esp", Latency(900, 3100, 3210, 3400), 1.0, 1.0, memory),
            Contender(f"onnxruntime {label}", f"{label}.onnx", Latency(850, 6300, 6420, 6600), 2.0, 2.03, none),
        ),
        tuple(StepTime(step.name, step.op, step.kernel, step.median_us) for step in steps),
    )


def planned(report) -> PlannedFacts:
    return PlannedFacts({each.layer: Work(7_225_344.0, 300_000) for each in report.layers}, ("conv2",), Roof(6e9, 12e9))


def builders(label="m", steps=made.STEPS) -> dict[str, Callable[[], str]]:
    """What makes each page."""
    profile, known = made.profile(steps=steps), facts(steps, label)
    report = explained([plan(f"{label} {step.name}") for step in steps], label)
    several = {label: profile, f"{label} slow": made.profile(6420.0, steps), f"{label} bare": made.bare()}
    scores = {label: 0.91, f"{label} slow": 0.93}
    return {
        "explain": lambda: pages.explain_page(report, planned(report)),
        "explain without facts": lambda: pages.explain_page(report),
        "bench": lambda: pages.bench_page(benched(steps, label), known, label),
        "bench without facts": lambda: pages.bench_page(benched((), label)),
        "profile": lambda: pages.profile_page({label: profile}, {label: known}, {label: 0.91}),
        "bare profile": lambda: pages.profile_page({label: made.bare()}),
        "profiles": lambda: pages.profile_page(several, {label: known}, scores),
    }


PAGES = {kind: make() for kind, make in builders().items()}


def charts(page: Page) -> list[str]:
    """What a screen reader says of them."""
    return [" ".join(str(each["aria-label"]).split()) for each in page.of("svg") if each.get("role") == "img"]


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_whole_by_itself(kind):
    page = Page(PAGES[kind])

    assert page.unclosed == [] and PAGES[kind].startswith("<!doctype html>\n")
    assert not {"link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert all(not attributes.keys() & {"src", "srcset", "action", "data"} for _, attributes in page.tags)
    assert all(str(attributes["href"]).startswith("#") for _, attributes in page.tags if "href" in attributes)
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on") or key == "style"]
    assert "://" not in PAGES[kind] and "@import" not in PAGES[kind] and "url(" not in PAGES[kind]


@pytest.mark.parametrize("kind", PAGES)
def test_only_the_script_of_the_page_may_run(kind):
    page = Page(PAGES[kind])

    (script,) = re.findall(r"<script>(.*?)</script>", PAGES[kind], re.DOTALL)
    (policy,) = (each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy) and "default-src 'none'" in str(policy)


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_built_for_keyboards_and_screen_readers(kind):
    page = Page(PAGES[kind])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]

    assert len(set(ids)) == len(ids)
    assert page.of("html")[0]["lang"] == "en" and len(page.of("h1")) == 1 and len(page.of("main")) == 1
    assert all(each["for"] in ids for each in page.of("label")) and len(page.of("label")) == len(page.of("input"))
    assert all(str(each["href"])[1:] in ids for each in page.of("a"))
    assert all(each.get("aria-labelledby") in ids for each in page.of("section"))
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(each.get("scope") in ("col", "row") for each in page.of("th"))
    charts = [each for each in page.of("svg") if each.get("aria-hidden") != "true" and "viewbox" not in each]
    assert all(each.get("role") == "img" and each.get("aria-label") for each in charts)
    boxes = [each for each in page.of("div") if each.get("class") == "scroll"]
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in boxes)


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_that_a_file_or_a_device_says_becomes_markup(kind):
    steps = tuple(replace(step, name=HOSTILE, op=HOSTILE, kernel=step.kernel + HOSTILE) for step in made.STEPS)

    text = builders(HOSTILE, steps)[kind]()
    page = Page(text)

    assert page.unclosed == [] and not page.of("img") and len(page.of("script")) == 1
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert SAID in page.text
    assert not [sign for sign in "\0\x1b\N{RIGHT-TO-LEFT OVERRIDE}" if sign in text]


def wild(value, number, text):
    """A report whose every number and text is something else."""
    if is_dataclass(value):
        return type(value)(**{each.name: wild(getattr(value, each.name), number, text) for each in fields(value)})
    if isinstance(value, tuple):
        return tuple(wild(each, number, text) for each in value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return number
    return text if type(value) is str else value


@pytest.mark.parametrize(
    "number", [0, -1, 5e-324, math.nan, math.inf, -math.inf, 1e308, 10**400, 2**63], ids=lambda each: str(each)[:9]
)
@pytest.mark.parametrize("text", ["", HOSTILE, "x" * 20_000], ids=["empty", "hostile", "long"])
def test_a_device_may_say_anything(number, text):
    profile = wild(made.profile(), number, text)

    found = [
        pages.profile_page({"a": profile}, {"a": facts()}, {"a": number}),
        pages.profile_page({"a": made.profile(), "b": profile}, {}, {"a": number, "b": 0.5}),
    ]

    assert all(Page(page).unclosed == [] and len(page) < 1_000_000 for page in found)
    places = re.findall(r' (?:x|x1|x2|y|y1|y2|cx|cy|r|width|height|d)="([^"]*)"', found[0])
    assert places and not [each for each in places if "nan" in each or "inf" in each]


def test_a_profile_shows_its_figures_and_where_they_are_from():
    page = Page(PAGES["profile"])

    for words in (
        "Median of an inference 3.21 ms",
        "Inferences each second 312",
        "Energy of an inference, net 12.4 mJ",
        "95 %: 12.1 mJ to 12.7 mJ",
        "Memory, peak 7.00 MiB",
        "File 3.20 MiB",
        "Battery 11.3 h",
        "Accuracy 0.910",
    ):
        assert words in page.text
    assert "18,000 inferences in 60.0 s" in page.text and "Raspberry Pi 5 Model B" in page.text
    labels = " ".join(charts(page))
    assert "Clock over time: from 1.80 GHz to 2.40 GHz" in labels and "Histogram of 18000 times" in labels
    assert "soft temperature limit" in page.text and "VDD_CORE" in page.text


def test_what_is_missing_is_said_with_its_reason():
    text = Page(PAGES["bare profile"]).text

    assert "Not available: no meter was found; remedy: --meter csv:FILE" in text
    assert "Not available: no histogram was recorded" in text and "no /proc here" in text
    assert "Not recorded: latency, temperature, clock, power" in text
    assert "0 W" not in text and "0 J" not in text and " nan" not in text.lower()


def test_a_percentile_of_too_few_runs_says_so_wherever_it_would_stand():
    few = "p99 of 20 runs: too few, at least 100"
    one = replace(made.profile(), p99=Figure.unavailable("us", few))

    alone = Page(pages.profile_page({"m": one}))
    beside = Page(pages.profile_page({"m": one, "n": made.profile()}))

    assert alone.text.count(few) == 2 and any(few in label for label in charts(alone))
    assert f"p99 {NONE}" not in alone.text and any(few in row for row in beside.words("tr"))


def test_bench_puts_contenders_side_by_side():
    page = Page(PAGES["bench"])

    rows = [words for words in page.words("tr") if words.startswith(("edgesparse", "onnxruntime"))]
    assert rows == [
        f"edgesparse 3,210 3,100 3,400 1.00{TIMES} 1.50 900",
        f"onnxruntime m 6,420 6,300 6,600 2.00{TIMES} {NONE} 850",
    ]
    assert any(
        label.startswith("The network by time: 4 layers, 1.11 ms; most in conv2 741 µs") for label in charts(page)
    )


def test_the_best_of_several_artifacts_is_marked_and_ratios_are_told():
    rows = Page(PAGES["profiles"]).words("tr")

    assert any(row.startswith(f"median 3.21 ms best measured 6.42 ms 2.00{TIMES} the first") for row in rows)
    assert any(row.startswith("accuracy 0.910 0.930 best") for row in rows)
    assert any(row.startswith("energy of an inference, net 12.4 mJ") and "best" not in row for row in rows)


def test_explain_shows_dense_against_sparse_and_what_bounds_a_layer():
    report = explained()

    page = Page(pages.explain_page(report, planned(report)))

    labels = charts(page)
    assert any(label.startswith("As chosen: 4 layers, 260 µs; most in conv1 120 µs") for label in labels)
    assert any(label.startswith("All dense: 4 layers, 660 µs; most in conv1 360 µs") for label in labels)
    assert "Roofline of 2 layers; 0 of them are bound by memory" in labels
    assert "0 of 2 layers are bound by memory" in page.text
    rows = [row for row in page.words("tr") if row.startswith(("conv", "each"))]
    assert [row[:5] for row in rows] == ["conv2", "conv1", "each "]  # in the order of the network
    assert "Measured" not in page.text


def test_explain_shows_measured_times_where_there_are_some():
    report = explained([plan(measured_us=131.0), plan("conv2")])

    text = Page(pages.explain_page(report)).text

    assert "Measured, µs" in text and "131" in text and "Its weighted layers 131 µs measured" in text


@pytest.mark.parametrize("kind", ["explain", "bench", "profile"])
def test_ten_thousand_layers_make_a_page_of_few_megabytes(kind):
    steps = tuple(
        Step(f"block/{at}/" + "long" * 40, "Conv", f"es_{at}", 1, 1.0, float(at % 97 + 1)) for at in range(10_000)
    )

    text = builders("m", steps)[kind]()

    assert len(text) < 4_000_000
    assert text.count("<tr>") < 2_200 and ("The other 8,000 take" in text or "The 8,001 layers that take least" in text)


def test_a_page_needs_a_profile():
    with pytest.raises(ValueError, match="got no profile"):
        pages.profile_page({})
