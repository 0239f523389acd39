"""Whatever stands in an argument's place, and whatever a file is called, the answer is one line."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgesparse
from edgesparse.errors import EdgesparseError
from tests.cli.models import classifier

ODD_NAME = "a\nb\x1b[31m<b>.esp"
ANYTHING = [
    *("x", "1", "\n", "a\0b", "\ud800", b"", b"1", None, True, math.nan, math.inf, -1, 0, 1e300, 10**40),
    *([], [1], (), {}, object(), np.zeros(2), len),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("hostile")
    artifact = edgesparse.compile(classifier(made / "m.onnx"), output=made / "m.esp").artifact
    shutil.copy(artifact, made / ODD_NAME)
    return made


def refusals(function, **given) -> list[str]:
    """What is said to each of them; those that are taken are left out."""
    ((name, _),) = ((key, value) for key, value in given.items() if value is ...)
    said = []
    for value in ANYTHING:
        try:
            function(**{**given, name: value})
        except EdgesparseError as err:
            said.append(str(err))
            assert "\n" not in said[-1] and len(said[-1]) < 400, said[-1]
    return said


OPTIONS = ["artifacts", "seconds", "rate_hz", "meter", "battery_wh", "threads", "cores", "cool_down", "eval", "html"]


@pytest.mark.parametrize("name", OPTIONS)
def test_profile_refuses_what_does_not_fit_before_it_runs(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgesparse.pipeline.profiling._profiled", lambda *_, **__: None)
    monkeypatch.setattr("edgesparse.pipeline.profiling._page", lambda *_: "")
    monkeypatch.setattr("edgesparse.pipeline.profiling._scores", lambda *_: {})

    said = refusals(edgesparse.profile, **{"artifacts": str(folder / "m.esp"), "seconds": 1, name: ...})

    assert len(said) >= 12 and all(
        name.split("_")[0].rstrip("s") in words or "cool-down" in words for words in said if "got" in words
    )


@pytest.mark.parametrize("name", ["artifact", "threads", "seconds", "steps", "html", "cores", "cool_down"])
def test_bench_refuses_what_does_not_fit(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgesparse.measure.bench", lambda *_, **__: pytest.fail("it was run"))

    for value in (b"x", {}, object(), [1]):
        with pytest.raises(EdgesparseError, match="got"):
            edgesparse.bench(**{"artifact": str(folder / "m.esp"), "seconds": 0, name: value})


def test_numbers_of_numpy_are_numbers(folder):
    told = edgesparse.profile(folder / "m.esp", seconds=np.float32(0.0625), threads=np.int64(1), meter="none")

    assert next(iter(told.profiles.values())).threads == 1


PLACES = {
    "": "is a directory, expected the name of a file",
    ".": "is a directory, expected the name of a file",
    "missing/page.html": "there is no directory 'missing'; create it first",
    "/proc/page.html": "takes no files (",
    "m.esp": "which this command reads; name another file",
    "m.onnx": "holds an ONNX model and would become an HTML page",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ["profile", "bench"])
def test_a_page_that_cannot_be_written_is_told_before_the_measurement(command, place, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("edgesparse.devices.local.Local.open", lambda *_: pytest.fail("it was run"))

    with pytest.raises(EdgesparseError) as failure:
        getattr(edgesparse, command)("m.esp", html=place)

    assert PLACES[place] in str(failure.value)


def test_a_name_of_several_lines_is_one_line_on_the_terminal_and_text_on_the_page(folder):
    words = [
        sys.executable,
        "-m",
        "edgesparse",
        "profile",
        ODD_NAME,
        "--seconds=0.1",
        "--meter=none",
        "--html=page.html",
    ]

    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a?b?[31m<b>.esp: ") and "\x1b" not in done.stdout
    page = Path(folder / "page.html").read_text()
    assert "a?b?[31m&lt;b&gt;.esp" in page and ODD_NAME not in page and "a\nb" not in page and "m<b>" not in page
