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


def require_runs(platform: str, artifact: Path) -> None:
    """Skip where no plan is for a platform, or where this machine's CPU is older than all of them."""
    images = [image for program in read(artifact).programs for image in program.images]
    if not any(image.isa == platform for image in images):
        pytest.skip("no plan is for it")
    if platform == build.host_platform() and LOCAL.refuses(artifact):
        pytest.skip("this CPU is older than the target")


def test_what_versions_brought_is_kept():
    kept = {".".join(path.parts[-2:]) for path in KEPT}

    assert kept == {"2.0.classifier.esp", "2.0.lookup.esp", "2.1.integers.esp"}
    assert folder((records.MAJOR, records.MINOR)).is_dir()


@pytest.mark.parametrize("artifact", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_it_computes_what_it_did(platform, artifact, tmp_path):
    require_runs(platform, artifact)
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


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_it_gives_the_bits_that_it_promised(platform):
    artifact = folder((2, 1)) / "integers.esp"
    require_runs(platform, artifact)

    done = run_program(*launcher(platform), build.esrun(platform), artifact, "--verify")

    assert (done.returncode, done.stdout) == (0, f"{artifact}: 1 output has the bits that were promised\n"), done.stderr


@pytest.mark.parametrize("artifact", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_is_read_and_described(artifact):
    summary = edgesparse.inspect(artifact)

    assert sorted(plan.target for plan in summary.plans) == sorted(TARGETS[artifact.stem])
    assert summary.version == tuple(map(int, artifact.parent.name.split(".")))
    facts = [of_plan(summary.manifest, number)["target_facts"] for number in range(len(summary.plans))]
    assert [targets.of_facts(each, "kept").name for each in facts] == [plan.target for plan in summary.plans]
    assert all(program.weights == read(artifact).programs[0].weights for program in read(artifact).programs)


@pytest.mark.parametrize(
    "version", sorted({path.parent for path in KEPT if path.stem == "lookup"}), ids=lambda path: path.name
)
def test_what_its_kernels_refuse_is_refused(version):
    if LOCAL.refuses(version / "lookup.esp"):
        pytest.skip("this CPU is older than the target")
    inputs = arrays(version / "lookup.esp", "inputs")
    inputs["ids"][1, 2] = 9

    with Model(version / "lookup.esp") as model, pytest.raises(EdgesparseRuntimeError, match="element 7 of 'ids' is 9"):
        model.run(inputs)


@pytest.mark.parametrize(
    "version", sorted({path.parent for path in KEPT if path.stem == "classifier"}), ids=lambda path: path.name
)
def test_its_labels_and_pictures_mean_what_they_did(version):
    summary = edgesparse.inspect(version / "classifier.esp")

    assert summary.labels == tuple("äbcde")
    assert [(tensor.picture, tensor.shape) for tensor in summary.inputs] == [("rgb", (8, 8, 3))]
