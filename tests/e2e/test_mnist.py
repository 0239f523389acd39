"""A trained classifier keeps its accuracy on 10,000 images through the Python binding, and its scores through esrun."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from edgesparse_runtime import Model

from runtime import build
from tests.e2e.flow import compiled
from tests.models import assert_close, ort_run, real_model

ACCURACY = 0.989


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return compiled(real_model("mnist-8"), tmp_path_factory.mktemp("mnist"))


@pytest.fixture(scope="module")
def digits():
    data = np.load(real_model("mnist-8").with_name("mnist_10k.npz"))
    return data["x"].astype(np.float32)[:, None, None], data["y"]


def test_python_binding_scores_what_the_model_is_known_for(artifact, digits):
    images, labels = digits

    with Model(artifact) as model:
        answers = [next(iter(model.run(image).values())).argmax() for image in images]

    assert np.mean(answers == labels) == pytest.approx(ACCURACY, abs=0.001)


def test_esrun_answers_what_onnx_runtime_answers(artifact, digits, tmp_path):
    images = digits[0][:500]
    for index, image in enumerate(images):
        np.save(tmp_path / f"in{index}.npy", image)
    runner = build.esrun(build.host_platform())
    each = '"$1" "$2" --input in$i.npy --output out$i.npy || exit'
    loop = f"i=0; while [ $i -lt {len(images)} ]; do {each}; i=$((i+1)); done"

    done = subprocess.run(["sh", "-c", loop, "sh", runner, artifact], cwd=tmp_path, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    for index, image in enumerate(images):
        (expected,) = ort_run(real_model("mnist-8"), {"Input3": image})
        assert_close(np.load(tmp_path / f"out{index}.npy"), expected)
