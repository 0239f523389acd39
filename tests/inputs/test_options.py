"""Options that nobody can have meant are refused with what may have been; a target's facts travel with the artifact."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse.backends import cpu
from edgesparse.devices import targets
from edgesparse.errors import PruneError, RecipeError, TargetError
from tests.cli.models import classifier
from tests.frontend.graphs import floats
from tests.frontend.graphs import model as graph


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("options") / "model.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 90}, "sparsity: got 90, expected a share from 0 up to below 1; did you mean 0.9?"),
        ({"sparsity": 90.0}, "sparsity: got 90, expected a share from 0 up to below 1; did you mean 0.9?"),
        ({"sparsity": "90%"}, "sparsity: got '90%', expected a share from 0 up to below 1; did you mean 0.9?"),
        ({"sparsity": "0.9"}, "sparsity: got '0.9', expected a share from 0 up to below 1"),
        ({"structured": 30}, "structured: got 30, expected a share from 0 up to below 1; did you mean 0.3?"),
        ({"sparsity": 0.5, "layers": {"body": {"sparsity": 75}}}, "layers: body: sparsity: got 75"),
        ({"sparcity": 0.9}, "unknown option 'sparcity', did you mean 'sparsity'?"),
        ({"sparsity": 0.5, "input_shape": {}}, "unknown option 'input_shape', did you mean 'input_shapes'?"),
    ],
)
def test_what_may_be_meant_is_told_in_python(model, tmp_path, options, message):
    for use in (edgesparse.compile, edgesparse.explain, lambda *a, **o: edgesparse.prune(*a, tmp_path / "o.onnx", **o)):
        with pytest.raises(PruneError) as caught:
            use(model, **options)

        assert message in str(caught.value)


@pytest.mark.parametrize("text", ["90", "90%", "90 %"])
def test_what_may_be_meant_is_told_on_the_command_line(command, model, text):
    done = command("compile", model, "--sparsity", text)

    assert done.returncode == 2
    assert "expected a share from 0 up to below 1; did you mean 0.9?" in done.stderr


@pytest.mark.parametrize("text", ["sparsity: 90%", "sparsity: 90", "layers:\n  body: {sparsity: 90%}"])
def test_what_may_be_meant_is_told_of_recipes(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)

    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+:\d+: .*did you mean 0.9\?"):
        edgesparse.read_recipe(tmp_path / "recipe.yaml")


RECIPES = {
    "a bomb of aliases": "a: &a [x, x]\nb: &b [*a, *a]\nskip: [*b, *b]\n",
    "nested": "[" * 5000,
    "a python object": "sparsity: !!python/object/apply:os.system ['true']\n",
    "a list": "- sparsity\n",
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_recipe_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)

    with pytest.raises(RecipeError):
        edgesparse.read_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("name", targets.names())
def test_facts_of_a_target_say_all_but_its_cost_table(name):
    target = targets.load(name)
    table = json.loads(json.dumps(targets.facts(target)))

    assert targets.of_facts(table, "here") == target
    assert targets.of_facts(table | {"name": "mine"}, "here") == replace(target, name="mine", cost_table=None)
    assert len(json.dumps(table)) < 1500


@pytest.mark.parametrize("table", [None, {}, {"schema": 1}, {"schema": 1, "name": "x", "source": "y", "codegen": 3}])
def test_facts_that_are_none_are_refused(table):
    with pytest.raises(TargetError, match="^here: "):
        targets.of_facts(table, "here")


def board(tmp_path, name, **changes):
    """A target of the user's: a built-in one with other facts."""
    text = (targets.folder() / f"{name}.toml").read_text().replace(f'name = "{name}"', 'name = "board"')
    for old, new in changes.items():
        known = targets.flat(targets.load(name))[old]
        assert known in text
        text = text.replace(known, new)
    path = tmp_path / "board.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu": "x86-64-v33"}, "codegen.cpu: LLVM does not know 'x86-64-v33'; similar are x86-64-v3"),
        ({"triple": "aarch64-linux-gnu"}, "codegen.triple: got 'aarch64-linux-gnu', expected x86_64-linux-gnu"),
    ],
)
def test_cpu_that_llvm_does_not_know_is_refused(tmp_path, model, changes, message, capfd):
    with pytest.raises(TargetError) as caught:
        edgesparse.compile(model, board(tmp_path, "x86-64-v3", **changes), tmp_path / "a.esp")

    assert message in str(caught.value) and not (tmp_path / "a.esp").exists()
    assert capfd.readouterr().err == ""


def test_feature_that_llvm_does_not_know_is_refused():
    known = targets.load("rpi4")
    target = replace(known, cpu=replace(known.cpu, features=("+noen",)))

    with pytest.raises(TargetError, match=r"codegen.features: LLVM does not know '\+noen'; similar are neon"):
        cpu.require_known(target)


def test_an_artifact_for_a_board_of_the_users_own_is_verified_without_its_file(tmp_path, model):
    path = board(tmp_path, "x86-64-v3")
    artifact = edgesparse.compile(model, path, tmp_path / "a.esp", sparsity=0.5).artifact
    path.unlink()

    report = edgesparse.verify(artifact, model)

    (plan,) = report.plans
    assert report.agrees and plan.layers and plan.first_divergence is None


def test_weights_that_are_no_numbers_are_named(tmp_path):
    weight = floats(8, 8)
    weight[0, :3], weight[1, 0] = np.nan, np.inf
    text = """g (float["n", 8] x, float[1, 8] mask) => (float["n", 8] y) {
        p = MatMul (x, w)
        q = Add (p, m)
        y = Mul (q, mask)
    }"""
    source = graph(text, w=weight, m=np.full((1, 8), -np.inf, np.float32))
    onnx.save(ir.to_proto(source), tmp_path / "m.onnx")

    notes = edgesparse.explain(tmp_path / "m.onnx", "rpi4").notes

    assert notes == (
        "batch size 1 is assumed of x; --input-shape gives another",
        "weight 'w' of p holds 3 NaN and 1 infinite values of 64",
    )
