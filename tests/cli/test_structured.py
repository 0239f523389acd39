"""`--structured` takes channels out before single weights become zero, in every command that prunes."""

from __future__ import annotations

import json

import onnx
import pytest

import edgesparse
from edgesparse.errors import PruneError
from tests.cli.models import classifier

EVENLY = ("--allocation", "uniform", "--json")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


def shapes(path):
    return {tensor.name: tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer}


def test_prune_writes_a_smaller_model_and_lists_the_groups(command, model, tmp_path):
    output = tmp_path / "small.onnx"

    done = command("prune", model, "-o", output, "--structured", "0.5", "--kinds", "channels")

    assert done.returncode == 0, done.stderr
    assert "stem" in done.stdout and "-> 8" in done.stdout and "it is an output of the model" in done.stdout
    assert shapes(output)["stem_weight"] == (8, 3, 3, 3)


def test_zeros_come_after_channels_and_in_the_smaller_model(command, model, tmp_path):
    output = tmp_path / "small.onnx"

    done = command("prune", model, "-o", output, "--structured", "0.5", "--sparsity", "0.75", *EVENLY)

    report = json.loads(done.stdout)
    assert report["shrunk"]["macs_after"] < report["shrunk"]["macs_before"]
    body = next(layer for layer in report["layers"] if layer["node"] == "body")
    assert tuple(body["shape"]) == shapes(output)["body_weight"] != (32, 16, 3, 3)
    assert body["nnz_after"] == pytest.approx(body["size"] / 4, abs=1)


def test_compile_rounds_to_the_lanes_of_the_target_and_verify_takes_the_same_channels(command, model, tmp_path):
    artifact = tmp_path / "small.esp"

    report = edgesparse.compile(model, "x86-64-v3", artifact, structured=0.3)
    done = command("verify", artifact, "--model", model)

    assert report.pruning.shrunk.multiple == 8
    assert report.pruning.shrunk.removed == pytest.approx(0.3, abs=0.1)
    assert done.returncode == 0, done.stderr + done.stdout


def test_explain_shows_the_smaller_layers(model):
    report = edgesparse.explain(model, "rpi4", structured=0.5)

    assert report.layers[0].m < 16


def test_a_budget_is_met_by_zeros_in_the_smaller_model(model, tmp_path):
    small = edgesparse.prune(model, tmp_path / "small.onnx", structured=0.5)

    report = edgesparse.prune(model, tmp_path / "sparse.onnx", target="rpi4", structured=0.5, speedup=1.1)

    assert report.shrunk == small.shrunk
    assert shapes(tmp_path / "sparse.onnx") == shapes(tmp_path / "small.onnx")
    assert report.search.speedup >= 1.1 and report.model_density < 1.0


def test_a_recipe_holds_the_same_options(command, model, tmp_path):
    (tmp_path / "recipe.yaml").write_text("structured: 0.5\nkinds: [channels]\nmultiple: 4\n")

    done = command("prune", model, "-o", "small.onnx", "--recipe", "recipe.yaml", "--json")

    report = json.loads(done.stdout)["shrunk"]
    assert (report["asked"], report["multiple"]) == (0.5, 4)
    kept = [row for row in report["groups"] if row["kind"] == "neurons"]
    assert all(row["note"] for row in kept)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"structured": 0.5, "importance": "luck"}, "importance 'luck' is unknown; expected one of activation, bn"),
        ({"structured": 0.5, "kinds": ["channels", "tails"]}, "kinds tails; expected some of channels, heads, neurons"),
        ({"structured": 1.0}, "structured: got 1, expected a share from 0 up to below 1"),
    ],
)
def test_options_that_cannot_be_used_are_named(model, tmp_path, options, message):
    with pytest.raises(PruneError, match=message):
        edgesparse.prune(model, tmp_path / "small.onnx", **options)
