"""An artifact and a rival are timed in processes of their own; what fails there is told in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import edgesparse
from edgesparse.devices.local import LOCAL
from edgesparse.devices.worker import Worker
from edgesparse.errors import MeasureError
from edgesparse.measure import RIVALS, Origin, bench, random_feeds
from tests.cli.models import classifier
from tests.models import ort_run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("bench") / "model.onnx")


@pytest.fixture(scope="module")
def artifact(model) -> Path:
    return edgesparse.compile(model, "host", model.with_suffix(".esp")).artifact


def test_a_local_session_runs_here_and_is_timed_elsewhere(artifact):
    with LOCAL.open(artifact) as session:
        feeds = random_feeds(session.inputs)
        times = session.time(feeds, repeat=4)
        meters = session.meters(feeds)

    assert len(times) == 4 and all(1_000 < ns < 1_000_000_000 for ns in times)
    assert set(meters) <= {"peak_bytes", "mapped_bytes", "anonymous_bytes"}


def test_an_artifact_is_timed_whatever_its_name_is(artifact, tmp_path):
    (tmp_path / "model").write_bytes(artifact.read_bytes())

    (ours,) = bench(tmp_path / "model", seconds=0.0).contenders

    assert ours.latency.runs >= 10 and ours.model == str(tmp_path / "model")


def test_the_rival_computes_what_onnx_runtime_does(artifact, model):
    with LOCAL.open(artifact) as session:
        feeds = random_feeds(session.inputs)

    with Worker(RIVALS["onnxruntime"], model) as rival:
        outputs = rival.run(feeds)

    (expected, *_) = ort_run(model, feeds)
    np.testing.assert_allclose(next(iter(outputs.values())), expected, rtol=1e-4, atol=1e-5)
    assert set(rival.versions) == {"onnxruntime"}


def test_every_contender_has_a_latency_and_a_memory(artifact, model):
    ours, theirs = bench(artifact, against=["onnxruntime"], model=model, seconds=0.0).contenders

    assert theirs.ratio == pytest.approx(theirs.latency.median_us / ours.latency.median_us)
    if ours.memory.peak.origin is Origin.MEASURED:
        assert 0 < ours.memory.peak.value < theirs.memory.peak.value


def test_a_rival_that_cannot_open_the_model_says_so_in_one_line(artifact, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")

    with pytest.raises(MeasureError, match=r"^onnxruntime cannot be timed: .*model.onnx failed") as caught:
        bench(artifact, against=["onnxruntime"], model=tmp_path / "model.onnx", seconds=0.0)

    assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_told_of_the_artifact(artifact):
    with pytest.raises(MeasureError, match=r"model.esp: inputs: got the names \['nobody'\]"):
        bench(artifact, inputs={"nobody": np.zeros(3, np.float32)}, seconds=0.0)


def test_a_process_that_is_killed_on_the_way_is_told_by_name(artifact, monkeypatch):
    time = Worker.time

    def killed(worker, *arguments, **options):
        found = time(worker, *arguments, **options)
        os.kill(worker.pid, signal.SIGKILL)
        return found

    monkeypatch.setattr(Worker, "time", killed)

    with pytest.raises(MeasureError, match="^edgesparse cannot be timed: its process died of SIGKILL"):
        bench(artifact, seconds=0.0)
