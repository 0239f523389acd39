"""Artifacts of every version that was ever frozen open and run, on every instruction set that they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

import edgesparse
from edgesparse.devices import targets
from edgesparse.devices.local import LOCAL
from edgesparse.package import records
from edgesparse.package.manifest import of_plan
from edgesparse.package.reader import read
from runtime import build
from runtime.tests.conftest import launcher, run_program
from tests.frozen.make import HERE, TARGETS, folder

KEPT = sorted(HERE.glob("*/*.esp"))


def arrays(artifact: Path, what: str) -> dict[str, np.ndarray]:
    with np.load(artifact.with_suffix(f".{what}.npz")) as kept:
        return dict(kept)


def test_this_version_is_kept():
    assert sorted(path.name for path in folder((records.MAJOR, records.MINOR)).glob("*.esp")) == [
        "classifier.esp",
        "lookup.esp",
    ]


@pytest.mark.parametrize("artifact", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_it_computes_what_it_did(platform, artifact, tmp_path):
    if platform == build.host_platform() and LOCAL.refuses(artifact):
        pytest.skip("this CPU is older than the target")
    inputs = [word for name in arrays(artifact, "inputs") for word in ("--input", f"{name}={tmp_path / name}.npy")]
    for name, array in arrays(artifact, "inputs").items():
        np.save(tmp_path / f"{name}.npy", array)
    program = [*launcher(platform), build.esrun(platform), artifact]

    done = run_program(*program, *inputs, "--output", tmp_path / "out.npz", "--threads", 2)

    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        expected = arrays(artifact, "outputs")
        assert set(outputs) == set(expected)
        for name, value in expected.items():
            assert outputs[name].dtype == value.dtype
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("artifact", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_is_read_and_described(artifact):
    summary = edgesparse.inspect(artifact)

    assert sorted(plan.target for plan in summary.plans) == sorted(TARGETS)
    assert summary.version == tuple(map(int, artifact.parent.name.split(".")))
    facts = [of_plan(summary.manifest, number)["target_facts"] for number in range(len(TARGETS))]
    assert [targets.of_facts(each, "kept").name for each in facts] == [plan.target for plan in summary.plans]
    assert all(program.weights == read(artifact).programs[0].weights for program in read(artifact).programs)


@pytest.mark.parametrize("version", sorted(HERE.glob("[0-9]*")), ids=lambda path: path.name)
def test_what_its_kernels_refuse_is_refused(version):
    if LOCAL.refuses(version / "lookup.esp"):
        pytest.skip("this CPU is older than the target")
    inputs = arrays(version / "lookup.esp", "inputs")
    inputs["ids"][1, 2] = 9

    with Model(version / "lookup.esp") as model, pytest.raises(EdgesparseRuntimeError, match="element 7 of 'ids' is 9"):
        model.run(inputs)


@pytest.mark.parametrize("version", sorted(HERE.glob("[0-9]*")), ids=lambda path: path.name)
def test_its_labels_and_pictures_mean_what_they_did(version):
    summary = edgesparse.inspect(version / "classifier.esp")

    assert summary.labels == tuple("äbcde")
    assert [(tensor.picture, tensor.shape) for tensor in summary.inputs] == [("rgb", (8, 8, 3))]
