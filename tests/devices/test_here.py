"""Artifacts for other machines run emulated: ONNX Runtime is the judge, and no time is told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgesparse
from edgesparse.devices import here, targets
from edgesparse.devices.emulated import ANY, Emulated
from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Profiling
from edgesparse.errors import EdgesparseError, MeasureError
from edgesparse.isa import ISAS
from edgesparse.package.reader import read
from edgesparse.package.writer import write
from tests.cli.models import classifier
from tests.models import ort_run

FOREIGN = "rpi4" if LOCAL.why_not("aarch64", ()) else "x86-64-v3"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("here") / "model.onnx")


@pytest.fixture(scope="module")
def foreign(model) -> Path:
    artifact = edgesparse.compile(model, FOREIGN, model.with_suffix(".esp"), labels=list("abcde")).artifact
    if not Emulated(targets.load(FOREIGN)).is_there():
        pytest.skip("QEMU's user emulation is not installed")
    return artifact


def feeds(artifact: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        spec.name: rng.standard_normal(spec.shape).astype(spec.dtype) for spec in edgesparse.inspect(artifact).inputs
    }


def test_an_artifact_for_another_machine_runs_emulated(foreign, model):
    given = feeds(foreign)

    answer = edgesparse.classify(foreign, given, top=3)

    (name, actual), *_ = answer.outputs.items()
    (expected, *_) = ort_run(model, given)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
    best = np.argsort(-expected.ravel())[:3]
    assert [score.label for score in answer.top] == ["abcde"[at] for at in best]
    assert "emulated: run by qemu-" in answer.where and answer.where in str(answer)
    assert edgesparse.run(foreign, given)[name].tobytes() == actual.tobytes()


def test_its_kernels_are_verified_layer_by_layer(foreign, model):
    report = edgesparse.verify(foreign, model)

    (plan,) = report.plans
    assert report.agrees and plan.layers and all(layer.agrees for layer in plan.layers)
    assert "emulated" in plan.where and plan.where in str(report)


def test_what_runs_here_is_not_emulated(model, tmp_path):
    artifact = edgesparse.compile(model, "host", tmp_path / "model.esp").artifact

    assert here.device_of(artifact) is LOCAL
    assert edgesparse.classify(artifact).where == ""


def test_an_emulator_tells_no_time(foreign):
    device = here.device_of(foreign)

    more = {"profile": (Profiling(1.0), print)}
    for name in ("step_times", "profile", "time", "meters"):
        with device.open(foreign) as session, pytest.raises(MeasureError, match="an emulator's times mean nothing"):
            getattr(session, name)(feeds(foreign), *more.get(name, ()))
    with pytest.raises(EdgesparseError, match="compiled for"):
        edgesparse.bench(foreign, seconds=0.1)


def test_the_targets_own_cpu_is_emulated_where_it_is_known(foreign):
    target = targets.load(FOREIGN)

    known, unknown = Emulated(target), Emulated(replace(target, cpu=replace(target.cpu, llvm_name="cortex-x999")))

    assert known.cpu == ("cortex-a72" if FOREIGN == "rpi4" else ANY)
    assert unknown.cpu == ANY and f"{unknown.emulator} -cpu {ANY}" in unknown.note


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nobody": np.zeros(3, np.float32)}, "got the names"),
        ([np.zeros((1, 2), np.float32)], "expected"),
        ([np.zeros((1, 2)), np.zeros(3)], "got 2 arrays, expected 1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_alike(foreign, given, words):
    with pytest.raises(EdgesparseError, match=words) as err:
        edgesparse.run(foreign, given)

    assert "\n" not in str(err.value)


def test_without_an_emulator_the_error_says_what_helps(foreign, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with pytest.raises(MeasureError, match="compiled for") as err:
        edgesparse.run(foreign)

    assert "remedy: run it on the device, or install qemu-user" in str(err.value)
    assert ISAS[targets.load(FOREIGN).cpu.isa].emulator in str(err.value)


@pytest.mark.parametrize("facts", [{}, {"target_facts": None}, {"target_facts": {"schema": 99}}, {"target_facts": 7}])
def test_an_artifact_that_does_not_say_what_it_is_for_is_refused(foreign, facts, tmp_path):
    path = tmp_path / "model.esp"
    write(read(foreign).programs, {"plans": [facts]}, path)

    with pytest.raises(EdgesparseError, match="compile the model again") as err:
        edgesparse.run(path)

    assert "\n" not in str(err.value)


@pytest.mark.parametrize("content", [b"", b"\x89ESP", b"PK\x03\x04zip"])
def test_what_is_no_artifact_is_refused_as_before(content, tmp_path):
    (tmp_path / "model.esp").write_bytes(content)

    with pytest.raises(EdgesparseError):
        edgesparse.run(tmp_path / "model.esp")


def test_a_foreign_artifact_that_is_cut_off_is_refused(foreign, tmp_path):
    data = foreign.read_bytes()
    for size in (100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.esp").write_bytes(data[:size])
        with pytest.raises(EdgesparseError) as err:
            edgesparse.run(tmp_path / "cut.esp")
        assert "\n" not in str(err.value)
