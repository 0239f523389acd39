"""Budgets from the outside: `--latency` and `--speedup` of prune, compile and explain."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest

import edgesparse
from edgesparse.errors import EdgesparseError, PruneError
from tests.cli.models import classifier

SPEEDUP = 1.3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    images = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "samples.npz", image=images)
    return classifier(folder / "model.onnx")


@pytest.fixture(scope="module")
def samples(model):
    return model.with_name("samples.npz")


def test_a_speedup_becomes_densities_that_explain_confirms(model, samples, tmp_path):
    report = edgesparse.prune(model, tmp_path / "out.onnx", target="rpi4", speedup=SPEEDUP, calibration=samples)

    explained = edgesparse.explain(tmp_path / "out.onnx", "rpi4")
    found = report.search
    chosen_us = explained.dense_us - explained.predicted_us
    assert found.speedup >= SPEEDUP and (found.origin, found.judged_by) == ("estimated", "outputs")
    assert report.method == "admm"
    assert found.budget_us == pytest.approx(found.dense_us / SPEEDUP)
    assert found.dense_us - found.latency_us == pytest.approx(chosen_us, rel=0.1)
    after = {row.node: row.density_after for row in report.layers if row.prunable}
    assert after == pytest.approx(found.densities, abs=0.01)


def test_a_latency_may_stand_in_a_recipe_and_an_amount_on_the_command_line_goes_before_it(command, model, tmp_path):
    (tmp_path / "recipe.yaml").write_text("target: rpi4\nlatency: 1s\nthreads: 2\n")

    slow = command("explain", model, "--recipe", "recipe.yaml", "--json")
    sparse = command(
        "explain", model, "--recipe", "recipe.yaml", "--sparsity", "0.5", "--allocation", "uniform", "--json"
    )

    found = json.loads(slow.stdout)["search"]
    assert (found["budget_us"], found["threads"], found["judged_by"]) == (1e6, 2, "weights")
    assert json.loads(sparse.stdout)["search"] is None
    assert json.loads(sparse.stdout)["layers"][1]["density"] == pytest.approx(0.5, abs=0.01)


def test_prune_says_what_was_found(command, model):
    done = command("prune", model, "-o", "out.onnx", "--target", "rpi4", "--speedup", "1.2")

    assert done.returncode == 0, done.stderr
    assert "estimated latency" in done.stdout and "without calibration samples" in done.stdout


def test_an_artifact_for_this_machine_is_measured_and_verifies(model, samples, tmp_path):
    report = edgesparse.compile(model, output=tmp_path / "a.esp", speedup=1.05, calibration=samples)

    found = report.pruning.search
    recorded = edgesparse.inspect(report.artifact).manifest["pruning"]
    assert found.origin == "measured"
    assert {node: 1 - own["sparsity"] for node, own in recorded["layers"].items()} == pytest.approx(found.densities)
    assert edgesparse.verify(report.artifact, model).agrees
    assert (tmp_path / "model.search" / "state.json").exists()


def test_partial_results_of_other_options_are_refused(model, samples, tmp_path):
    image = np.load(samples)["image"].tolist()
    options = {"target": "rpi4", "speedup": 1.2, "calibration": {"image": image}}
    edgesparse.prune(model, tmp_path / "out.onnx", **options)

    again = edgesparse.prune(model, tmp_path / "out.onnx", **options, resume=True)

    assert again.search.speedup >= 1.2
    with pytest.raises(EdgesparseError, match="belongs to another search: pattern"):
        edgesparse.prune(model, tmp_path / "out.onnx", **options, resume=True, pattern="4x1")
    with pytest.raises(EdgesparseError, match="belongs to another search: calibration"):
        edgesparse.prune(model, tmp_path / "out.onnx", **{**options, "calibration": {"image": image[1:]}}, resume=True)


JUDGE = """
import numpy as np, onnxruntime

def agreement(path):
    images = np.load("samples.npz")["image"]
    scores = onnxruntime.InferenceSession(path).run(None, {"image": images})[0]
    return float(np.mean(scores.argmax(1) == np.load("labels.npy")))
"""


def test_the_most_that_an_accuracy_allows_is_found_and_shown(command, model, samples, tmp_path):
    images = np.load(samples)["image"]
    session = onnxruntime.InferenceSession(model)
    np.save(tmp_path / "labels.npy", session.run(None, {"image": images})[0].argmax(1))
    np.savez(tmp_path / "samples.npz", image=images)
    (tmp_path / "judge.py").write_text(JUDGE)
    budget = ("--max-accuracy-drop", "20%", "--eval", "judge:agreement", "--calibration", "samples.npz")

    done = command("prune", model, "-o", "out.onnx", "--target", "rpi4", *budget, "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["search"]
    pruned = onnxruntime.InferenceSession(tmp_path / "out.onnx").run(None, {"image": images})[0]
    agreement = float(np.mean(pruned.argmax(1) == np.load(tmp_path / "labels.npy")))
    chosen = next(each for each in found["candidates"] if each["densities"] == found["densities"])
    assert found["candidates"][0]["score"] == 1.0
    assert agreement == chosen["score"] >= 0.8 and found["speedup"] > 1
    assert len(json.loads((tmp_path / "model.pareto.json").read_text())["candidates"]) == len(found["candidates"])
    again = command("explain", model, "--target", "rpi4", *budget, "--resume")
    assert f"score {agreement:.6g}, dense 1" in again.stdout


def test_a_judge_that_fails_leaves_its_results(command, model, tmp_path):
    (tmp_path / "failing_judge.py").write_text("def score(path):\n    raise OSError('disk gone')\n")

    done = command(
        "prune", model, "-o", "o.onnx", "--target", "rpi4", "--max-accuracy-drop", "1%", "--eval", "failing_judge:score"
    )

    assert done.returncode == 1
    assert "eval failing_judge:score: raised on" in done.stderr and "OSError: disk gone" in done.stderr
    assert (tmp_path / "model.search" / "losses.jsonl").exists() and not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_accuracy_drop": "1%"}, "max_accuracy_drop and eval go together"),
        ({"speedup": 2.0, "eval": "judge:score"}, "max_accuracy_drop and eval go together"),
        ({"max_accuracy_drop": "lots", "eval": "judge:score"}, "max_accuracy_drop: got 'lots'"),
        ({"max_accuracy_drop": 0.01, "eval": "judge"}, "eval: got 'judge', expected package.module:function"),
        ({"speedup": 2.0, "calibration": {"picture": np.zeros((2, 3, 8, 8))}}, "calibration: no samples for image;"),
        ({"latency": "1us"}, "cannot be reached on rpi4: the least is"),
        ({"latency": "8"}, "latency: got '8' with no unit"),
        ({"speedup": 1.0}, "speedup: got 1, expected a number above 1"),
        ({"speedup": 2.0, "sparsity": 0.5}, "sparsity and speedup each say how much to prune"),
        ({"latency": "1ms", "speedup": 2.0}, "latency and speedup each say how much to prune"),
        ({"speedup": 2.0, "layers": {"body": {"pattern": "4x1"}}}, "'body' has no sparsity of its own"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(model, tmp_path, options, reason):
    with pytest.raises(EdgesparseError) as err:
        edgesparse.prune(model, tmp_path / "out.onnx", target="rpi4", **options)

    assert reason in str(err.value)


def test_a_layer_with_options_of_its_own_is_not_searched(model, tmp_path):
    report = edgesparse.prune(
        model, tmp_path / "out.onnx", target="rpi4", speedup=1.1, layers={"head": {"sparsity": 0.5}}
    )

    assert set(report.search.densities) == {"body"}
    assert next(row for row in report.layers if row.node == "head").density_after == 0.5


def test_a_speedup_that_is_no_number_is_refused_in_a_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text("speedup: 0.5\n")

    with pytest.raises(EdgesparseError, match=r"recipe.yaml:1:10: speedup: got 0.5, expected a number above 1"):
        edgesparse.read_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(PruneError, match="expected a number above 1"):
        edgesparse.prune(tmp_path / "m.onnx", tmp_path / "o.onnx", speedup=float("inf"))
