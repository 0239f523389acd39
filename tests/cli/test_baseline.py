"""`bench --baseline` measures two builds of edgesparse, each in the environment it is installed in."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import venv

import pytest

import edgesparse
from tests.cli.models import classifier


@pytest.fixture
def files(tmp_path):
    """A model and the artifact of a pruned copy."""
    model = classifier(tmp_path / "classifier.onnx")
    return edgesparse.compile(model, "host", tmp_path / "classifier.esp", sparsity=0.8).artifact, model


def test_a_build_against_itself_agrees_and_both_are_named(command, files):
    artifact, model = files
    words = ("bench", artifact, "--model", model, "--baseline", sys.prefix, "--seconds", "0.1", "--json")

    report = json.loads(command(*words).stdout)

    assert report["ours"]["build"] == report["baseline"]["build"]
    assert report["ours"]["build"].startswith(f"edgesparse {importlib.metadata.version('edgesparse')} in /")
    assert report["agree"] is True
    for ratio, latency in (("ratio", "median_us"), ("ratio_p10", "p10_us")):
        both = [report[side]["latency"][latency] for side in ("baseline", "ours")]
        assert report[ratio] == pytest.approx(both[0] / both[1])


def test_environments_that_cannot_take_part_are_told_in_one_line(command, files, tmp_path):
    artifact, model = files
    venv.create(tmp_path / "empty", symlinks=True)

    none, empty = (
        command("bench", artifact, "--model", model, "--baseline", tmp_path / name) for name in ("none", "empty")
    )

    assert "none: no such Python; expected a virtual environment, or the python in it" in none.error
    assert "empty/bin/python: this build of edgesparse cannot take part: its process died" in empty.error
    assert "No module named" in empty.error


def test_a_baseline_is_compared_alone(command, files):
    artifact, model = files

    assert "--baseline needs --model" in command("bench", artifact, "--baseline", sys.prefix).stderr
    together = command("bench", artifact, "--model", model, "--baseline", sys.prefix, "--steps")
    assert together.returncode == 2 and "leave out --against, --steps, --html and --on" in together.stderr
