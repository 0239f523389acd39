"""Recipes: what a file may say, where an error is, and that the command line goes before it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import edgesparse
from edgesparse.errors import PruneError, RecipeError, SearchError
from edgesparse.pipeline import Pruning
from tests.cli.models import classifier

WHOLE = """
# everything that a recipe can hold
target: rpi4
input_shapes:
  image: [1, 3, 8, 8]
sparsity: 0.75
method: magnitude
allocation: erk
pattern: 2:4
skip: [head, 'stem*']
calibration: samples.npz
layers:
  body: {sparsity: 5e-1, pattern: 4x1}
  head: {skip: yes}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("model") / "model.onnx")


def write(folder, text, name="recipe.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def nonzeros(path):
    tensors = onnx.load(path).graph.initializer
    return {tensor.name: int(np.count_nonzero(onnx.numpy_helper.to_array(tensor))) for tensor in tensors}


def test_a_recipe_holds_the_arguments_of_compile(tmp_path):
    assert edgesparse.read_recipe(write(tmp_path, WHOLE)) == {
        "target": "rpi4",
        "input_shapes": {"image": [1, 3, 8, 8]},
        "sparsity": 0.75,
        "method": "magnitude",
        "allocation": "erk",
        "pattern": "2:4",
        "skip": ["head", "stem*"],
        "calibration": tmp_path / "samples.npz",
        "layers": {"body": {"sparsity": 0.5, "pattern": "4x1"}, "head": {"skip": True}},
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_recipe_says_nothing(tmp_path, text):
    assert edgesparse.read_recipe(write(tmp_path, text)) == {}


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("pattern: 4x1\nsparcity: 0.9\n", "2:1", "unknown key 'sparcity', did you mean 'sparsity'?"),
        ("colour: red\n", "1:1", "unknown key 'colour'; known: sparsity, structured"),
        ("layers:\n  body: {density: 1}\n", "2:10", "unknown key 'density'; known: sparsity, pattern, skip"),
        ("\nsparsity: most\n", "2:11", "sparsity: got 'most', expected a number"),
        ("sparsity: [0.9]\n", "1:11", "sparsity: got a list, expected a number"),
        ("sparsity: 1.5\n", "1:11", "sparsity: got 1.5, expected a share from 0 up to below 1"),
        ("sparsity: .nan\n", "1:11", "sparsity: got '.nan', expected a number"),
        ("method: dice\n", "1:9", "method 'dice' is unknown; expected one of"),
        ("allocation: luck\n", "1:13", "allocation 'luck' is unknown; expected one of"),
        ("method: true\n", "1:9", "method: got 'true', expected text"),
        ("method:\n", "1:8", "method: got nothing, expected text"),
        ("pattern: 4:2\n", "1:10", "pattern '4:2' is unknown"),
        ("skip: head\n", "1:7", "skip: got a single value, expected a list"),
        ("skip: [{a: b}]\n", "1:8", "skip[0]: got a mapping, expected text"),
        ("layers: [body]\n", "1:9", "layers: got a list, expected a mapping"),
        ("layers:\n  a: {}\n  b: {sparsity: 2}\n", "3:6", "layers: b: sparsity: got 2"),
        ("layers: {b: {skip: maybe}}\n", "1:20", "layers.b.skip: got 'maybe', expected true or false"),
        ("input_shapes: {x: [1, two]}\n", "1:23", "input_shapes.x[1]: got 'two', expected a whole number"),
        ("sparsity: 0.5\nsparsity: 0.6\n", "2:1", "sparsity is given twice"),
        ("? [a]\n: b\n", "1:3", "expected a name"),
        ("- sparsity\n", "1:1", "recipe: got a list, expected a mapping"),
        ("sparsity: 0.5\n  method: x\n", "2:9", "mapping values are not allowed here"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(tmp_path, text, place, reason):
    path = write(tmp_path, text)

    with pytest.raises(RecipeError) as err:
        edgesparse.read_recipe(path)

    assert str(err.value).startswith(f"{path}:{place}: {reason}")


def test_files_that_are_no_text_or_not_there_are_named(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")

    with pytest.raises(RecipeError, match="bytes.yaml: is not a text file"):
        edgesparse.read_recipe(tmp_path / "bytes.yaml")
    (tmp_path / "model.yaml").write_bytes(b"\x08\x09\x12\x00")
    with pytest.raises(RecipeError, match="is an ONNX model, expected a recipe; remedy: write the options as YAML"):
        edgesparse.read_recipe(tmp_path / "model.yaml")
    with pytest.raises(RecipeError, match="no.yaml: cannot be read: No such file"):
        edgesparse.read_recipe(tmp_path / "no.yaml")
    with pytest.raises(RecipeError, match="odd.yaml: not YAML: unacceptable character"):
        edgesparse.read_recipe(write(tmp_path, "method: a\x07\n", "odd.yaml"))


def test_the_command_line_goes_before_the_recipe(command, model, tmp_path):
    write(tmp_path, "target: rpi4\nsparsity: 0.5\nlayers: {head: {skip: true}}\n")

    done = command("prune", model, "--recipe", "recipe.yaml", "--sparsity", "0.75", "-o", "out.onnx")
    by_file = command("prune", model, "--recipe", "recipe.yaml", "-o", "file.onnx")

    assert done.returncode == by_file.returncode == 0, done.stderr + by_file.stderr
    assert nonzeros(tmp_path / "out.onnx") == {"stem_weight": 432, "body_weight": 1152, "head_weight": 160}
    assert nonzeros(tmp_path / "file.onnx")["body_weight"] == 2304


def test_explain_and_compile_take_target_and_shapes_from_the_recipe(command, model, tmp_path):
    write(tmp_path, "target: rpi4\ninput_shapes: {image: [2, 3, 8, 8]}\nsparsity: 0.9\n")

    explained = command("explain", model, "--recipe", "recipe.yaml", "--json")
    compiled = command("compile", model, "--recipe", "recipe.yaml", "--json")

    assert json.loads(explained.stdout)["target"] == json.loads(compiled.stdout)["plans"][0]["target"] == "rpi4"
    assert edgesparse.inspect(tmp_path / "model.rpi4.esp").inputs[0].shape == (2, 3, 8, 8)


def test_an_error_in_a_recipe_is_one_line(command, model, tmp_path):
    write(tmp_path, "pattern: 4x1\nsparcity: 0.9\n")

    done = command("compile", model, "--recipe", "recipe.yaml")

    assert done.returncode == 1
    assert done.stderr == "edgesparse: recipe.yaml:2:1: unknown key 'sparcity', did you mean 'sparsity'?\n"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"sparsity": 0.5, "layers": {"head": {"sparsity": 0.75}}}, (432, 2304, 40)),
        ({"layers": {"head": {"sparsity": 0.75}}}, (432, 4608, 40)),
        ({"sparsity": 0.5, "layers": {"*": {"sparsity": 0.75}}}, (432, 1152, 40)),
        ({"sparsity": 0.5, "layers": {"body": {"sparsity": 0.75}, "*": {"skip": True}}}, (432, 1152, 160)),
        ({"sparsity": 0.5, "allocation": "uniform", "layers": {"stem": {"sparsity": 0.75}}}, (108, 2304, 80)),
        ({"pattern": "2:4", "layers": {"body_weight": {"sparsity": 0.75, "pattern": "4x1"}}}, (432, 1152, 80)),
        ({"sparsity": 0.75, "layers": {"body": {"pattern": "2:4"}}}, (432, 2304, 40)),
        ({"sparsity": 0.75, "layers": {"body": {"pattern": "4x1"}}}, (432, 1152, 40)),
    ],
)
def test_layers_have_options_of_their_own(model, tmp_path, options, left):
    report = edgesparse.prune(model, tmp_path / "out.onnx", **options)

    assert tuple(nonzeros(tmp_path / "out.onnx").values()) == left
    assert tuple(row.nnz_after for row in report.layers) == left
    assert [row.prunable for row in report.layers] == [n < all_ for n, all_ in zip(left, (432, 4608, 160), strict=True)]


def test_an_artifact_records_the_options_of_its_layers(model, tmp_path):
    report = edgesparse.compile(model, output=tmp_path / "a.esp", sparsity=0.5, layers={"head": {"sparsity": 0.75}})

    assert edgesparse.inspect(report.artifact).manifest["pruning"]["layers"] == {"head": {"sparsity": 0.75}}
    assert edgesparse.verify(report.artifact, model).agrees


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "nothing says how much to prune"),
        ({"method": "wanda", "resume": True}, "method and resume say how to prune, and nothing says how much"),
        ({"calibration": "no.npz", "skip": ["[("]}, "calibration and skip say how to prune, and nothing says how much"),
        (
            {"layers": {"tail*": {"sparsity": 0.5}}},
            "layers: 'tail*' matches no layer that can be pruned; there are stem",
        ),
        ({"layers": {"st*": {"sparsity": 0.5}}}, "layers: 'st*' matches no layer that can be pruned"),
        (
            {"layers": {"body": {"pattern": "4x1"}}},
            "layers: 'body' has no sparsity of its own, and there is none for all",
        ),
        ({"layers": {"body": {"skip": True}}}, "layers: they only leave layers dense"),
        ({"sparsity": 1.0}, "sparsity: got 1, expected a share from 0 up to below 1"),
        ({"sparsity": 0.5, "calibration": "no.npz"}, "no.npz: cannot be read: No such file"),
        ({"sparsity": 0.5, "calibration": __file__}, "is no file of numpy, expected an .npz file"),
    ],
)
def test_options_that_do_not_fit_are_refused(model, tmp_path, options, reason):
    with pytest.raises(PruneError) as err:
        edgesparse.prune(model, tmp_path / "out.onnx", **options)

    assert reason in str(err.value)


def test_the_allocation_is_the_one_that_suits_the_method():
    samples = {"image": np.zeros((2, 3, 8, 8), np.float32)}

    def chosen(**options):
        return Pruning.of({"sparsity": 0.5, **options}).options["allocation"]

    assert chosen() == chosen(calibration=samples, method="sparsegpt") == "lamp"
    assert chosen(calibration=samples) == chosen(calibration=samples, method="admm") == "uniform"
    assert chosen(calibration=samples, allocation="erk") == "erk"


def test_an_array_without_a_name_is_no_calibration(model, tmp_path):
    np.save(tmp_path / "samples.npy", np.zeros((2, 3, 8, 8), np.float32))

    with pytest.raises(PruneError, match="got one array without a name, expected an .npz file"):
        edgesparse.prune(model, tmp_path / "out.onnx", sparsity=0.5, calibration=tmp_path / "samples.npy")


def test_threads_that_no_session_has_are_refused(model, tmp_path):
    for threads in (0, 65):
        with pytest.raises(SearchError, match=f"threads: got {threads}, expected 1 to 64"):
            edgesparse.compile(model, output=tmp_path / "a.esp", threads=threads)
