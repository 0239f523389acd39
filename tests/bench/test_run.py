"""The command: options are understood, and a short run writes what it says."""

from __future__ import annotations

import json

import pytest

from bench.run import main, options


def test_quick_needs_nothing_to_be_installed_and_yields_to_what_is_asked_for():
    chosen = options(["--quick", "--threads", "2"])

    assert chosen.rivals == ["onnxruntime"]
    assert chosen.models == ["small_mobilenet", "small_resnet"]
    assert chosen.threads == [2]


def test_sweep_sets_the_densities():
    assert options(["--sweep"]).densities[0] == 1.0
    assert len(options(["--sweep"]).densities) > len(options([]).densities)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--models", "lenet"], "--models: got 'lenet', expected among"),
        (["--rivals", "tvm"], "--rivals: got 'tvm', expected among deepsparse, litert"),
        (["--densities", "half"], "--densities: could not convert"),
    ],
)
def test_unknown_words_are_refused_before_anything_is_measured(given, says, capsys):
    with pytest.raises(SystemExit):
        options(given)

    assert says in capsys.readouterr().err


def test_short_run_writes_figures_and_says_how_they_were_got(tmp_path, capsys):
    given = ["--quick", "--models", "small_mobilenet", "--densities", "0.1", "--threads", "1", "--seconds", "0"]

    main([*given, "-o", str(tmp_path)])

    report = json.loads((tmp_path / "results.json").read_text())
    (case,) = report["cases"]
    assert [each["unavailable"] for each in case["results"]] == [""] * 3  # edgesparse, ONNX Runtime f32 and int8
    assert all(each["latency"]["runs"] >= 10 and each["error"] < 0.1 for each in case["results"])
    assert case["limits"][0]["peak_gflops"] > 1
    assert report["machine"]["cores"] >= 1 and "--seconds 0" in report["command"]
    assert (tmp_path / "results.md").read_text() == capsys.readouterr().out
