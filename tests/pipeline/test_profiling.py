"""What `profile` tells of an artifact, here and beside an external meter."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import edgesparse
from edgesparse.errors import EdgesparseError, MeasureError
from edgesparse.pipeline import profiling
from tests.cli.models import classifier


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    model = classifier(tmp_path_factory.mktemp("profiled") / "model.onnx")
    return edgesparse.compile(model, output=model.with_suffix(".esp")).artifact


def command(*words: object) -> subprocess.CompletedProcess[str]:
    told = [sys.executable, "-m", "edgesparse", "profile", *map(str, words)]
    return subprocess.run(told, capture_output=True, text=True, timeout=120)


def test_profile_tells_latency_memory_and_steps(artifact):
    report = edgesparse.profile(artifact, seconds=0.4, meter="none")

    told = report.profiles[str(artifact)]
    assert told.where == "this machine" and told.runs > 10
    assert told.opened.value > 0 and told.first.value >= told.p10.value
    assert sum(bar.runs for bar in told.histogram) == told.runs
    assert 100_000 < told.memory.peak.value < 50e6  # of esrun, not of this process
    text = repr(report)
    assert "energy: unavailable: no meter was asked for" in text
    assert all(step.kernel in text for step in told.steps) and "median" in text


def test_figures_are_in_the_json_with_origin_and_interval(artifact):
    result = command(artifact, artifact, "--seconds", "0.4s", "--rate", "100/s", "--battery", "10Wh", "--json")

    assert result.returncode == 0, result.stderr
    (told,) = json.loads(result.stdout)["profiles"].values()
    assert told["schema"] == 1 and told["rate_hz"] == 100 and told["runs"] <= 41
    assert told["median"].keys() == {"value", "unit", "origin", "how", "low", "high"}
    assert told["missed"]["origin"] == "measured" and told["energy"]["gross"]["origin"] in ("measured", "unavailable")


def test_external_meter_is_aligned_by_the_time_of_the_windows(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "SHORTEST_WINDOW_S", 0.2)
    log, stop = tmp_path / "meter.csv", threading.Event()
    log.write_text(f"time,voltage_v,current_a\n{time.time()},5,0.6\n{time.time()},5,0.6\n")

    def write():
        while not stop.wait(0.005):
            with log.open("a") as file:
                file.write(f"{time.time()},5,0.6\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = edgesparse.profile(artifact, seconds=1.5, meter=str(log), battery_wh=6.0)
    finally:
        stop.set()
        writer.join()

    (told,) = report.profiles.values()
    assert told.energy.meter == str(log)
    assert told.energy.mean.value == pytest.approx(3.0, rel=1e-3), told.energy.mean.how
    busy = [w for w in told.energy.windows if w.busy]
    a_run = np.median([3.0 * (w.end_unix_ns - w.begin_unix_ns) / 1e9 / w.runs for w in busy])
    assert told.energy.gross.value == pytest.approx(a_run, rel=1e-3)
    assert told.energy.net.low <= 0 <= told.energy.net.high
    assert told.battery.value == pytest.approx(2.0, rel=1e-3) and told.battery.origin == "estimated"
    assert "battery: 2.00 h" in repr(report)


def test_page_shows_the_artifacts_side_by_side(artifact, tmp_path):
    other = tmp_path / "other.esp"
    other.write_bytes(artifact.read_bytes())

    report = edgesparse.profile([artifact, other], seconds=0.1, html=tmp_path / "page.html", eval=lambda path: 0.875)

    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and "2 artifacts side by side" in page and "0.875" in page
    assert len(report.profiles) == 2 and all(name.rsplit("/", 1)[-1] in page for name in report.profiles)
    with pytest.raises(EdgesparseError, match="holds an edgesparse artifact and would become an HTML page"):
        edgesparse.profile(artifact, seconds=0.1, html=other)


def score(path: str) -> float:
    assert path.endswith(".esp")
    return 0.25


def test_scores_stand_beside_profiles(artifact):
    report = edgesparse.profile(artifact, seconds=0.1, eval="tests.pipeline.test_profiling:score")

    assert report.scores == {str(artifact): 0.25} and "score 0.25" in repr(report)


def test_a_score_that_fails_is_one_line(artifact):
    with pytest.raises(MeasureError, match=r"^eval: ZeroDivisionError: "):
        edgesparse.profile(artifact, seconds=0.1, eval=lambda path: 1 / 0)


WRONG = {
    "--seconds=0": "expected a number above 0 to 1e+06 such as 60s",
    "--seconds=nan": "expected a number above 0 to 1e+06 such as 60s",
    "--rate=x": "expected a number above 0 to 1e+06 such as 10/s",
    "--battery=-1Wh": "expected a number above 0 to 1e+06 such as 18.5Wh",
    "--meter=volts": "meter: got 'volts', expected auto, none, or one of pmic, jetson, hwmon, rapl, battery",
    "--meter=pmic": "meter pmic: there is none here",
    "--meter=nowhere/log.csv": "nowhere/log.csv: No such file or directory",
    "--eval=x": "eval: got 'x', expected package.module:function",
}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_options_are_told(option, artifact):
    result = command(artifact, "--seconds=0.1", option)

    assert result.returncode in (1, 2) and WRONG[option] in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_an_artifact_for_another_cpu_has_no_times(tmp_path):
    model = classifier(tmp_path / "model.onnx")
    made = edgesparse.compile(model, "rpi4", tmp_path / "model.esp").artifact

    with pytest.raises(MeasureError, match="model.esp"):
        edgesparse.profile(made, seconds=0.1)
