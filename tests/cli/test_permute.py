"""`--permute` moves channels before a pattern N:M is imposed, in every command that prunes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import edgesparse
from tests.cli.models import classifier

NOTE = "channels reordered: keeps "


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


def magnitude(path, tensor):
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    return float(np.abs(weights[tensor]).sum(dtype=np.float64))


def test_prune_keeps_more_magnitude_and_says_how_much(command, model, tmp_path):
    plain = edgesparse.prune(model, tmp_path / "plain.onnx", pattern="2:4")

    done = command("prune", model, "-o", "ordered.onnx", "--pattern", "2:4", "--permute", "--json")

    assert done.returncode == 0, done.stderr
    rows = {row["node"]: row for row in json.loads(done.stdout)["layers"]}
    assert rows["body"]["note"].startswith(NOTE) and not any(NOTE in (row.note or "") for row in plain.layers)
    gain = magnitude(tmp_path / "ordered.onnx", "body_weight") / magnitude(tmp_path / "plain.onnx", "body_weight") - 1
    assert f"{NOTE}{gain:.1%} more magnitude" in rows["body"]["note"] and gain > 0


def test_an_artifact_of_moved_channels_computes_what_the_dense_model_pruned_so_does(command, model, tmp_path):
    artifact = tmp_path / "ordered.esp"

    edgesparse.compile(model, "host", artifact, pattern="2:4", permute=True)
    done = command("verify", artifact, "--model", model)

    assert done.returncode == 0, done.stderr + done.stdout


def test_without_such_a_pattern_it_is_refused_in_one_line(command, model):
    done = command("compile", model, "--target", "host", "--sparsity", "0.5", "--permute")

    assert done.returncode == 1
    assert done.stderr == (
        "edgesparse: permute is for patterns of neighbouring input channels such as 2:4 or 1x4; got 1x1: leave it out\n"
    )


def test_a_recipe_moves_channels_for_the_layers_that_have_the_pattern(command, model, tmp_path):
    (tmp_path / "recipe.yaml").write_text("permute: true\nlayers:\n  body: {pattern: '2:4'}\n")

    done = command("prune", model, "-o", "small.onnx", "--recipe", "recipe.yaml", "--json")

    assert done.returncode == 0, done.stderr
    assert [row["node"] for row in json.loads(done.stdout)["layers"] if NOTE in (row["note"] or "")] == ["body"]
