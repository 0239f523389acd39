"""Options that no function knows are refused before anything is done, with the nearest that it knows."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse.pipeline import Pruning
from tests.cli.models import classifier
from tests.frontend.graphs import model

WRONG = {
    edgesparse.bench: ("second", "seconds"),
    edgesparse.classify: ("tops", "top"),
    edgesparse.inspect: ("example_input", "example_inputs"),
    edgesparse.recover: ("tme", "time"),
    edgesparse.run: ("images", "image"),
    edgesparse.runtime: ("outputs", "output"),
    edgesparse.tune: ("measure", "measured"),
    edgesparse.verify: ("layer", "layers"),
}


@pytest.mark.parametrize("function", WRONG, ids=lambda function: function.__name__)
def test_an_unknown_option_is_refused_with_the_nearest(function):
    wrong, right = WRONG[function]

    with pytest.raises(
        edgesparse.errors.OptionError, match=f"{function.__name__}: unknown option '{wrong}', did you mean '{right}'"
    ):
        function(**{wrong: 1})


WRONG_KINDS = {
    "bind": ("x=3", "bind: got 'x=3', expected values by the names of inputs"),
    "calibration": (np.zeros(3), "calibration: got ndarray, expected arrays by the names of inputs"),
    "skip": ("no such", "--skip 'no such' matches no layer"),
    "kinds": ("channel", "kinds means nothing without structured; give structured too, such as 0.5"),
    "augment": (3, "augment: got 3, expected a text or several"),
    "method": (3, "method: got 3, expected a text"),
    "match": ("", "match '' is unknown; expected one of"),
    "pattern": ((4, 1), "pattern: got (4, 1), expected a text such as 4x1"),
    "multiple": (2.5, "multiple: got 2.5, expected a whole number"),
    "speedup": ("a", "speedup: got 'a', expected a number"),
    "reconstruct": ("no", "reconstruct: got 'no', expected True or False"),
    "recover": (5.5, "recover: got 5.5, expected a text such as 2m"),
    "layers": (3, "layers: got 3, expected options by the names of layers"),
    "labels": (3, "labels: got 3, expected a text file with one label per line"),
    "preprocess": (3, "preprocess: got 3, expected a text for each input"),
    "input_shapes": ({"x": 3}, "input_shapes: got {'x': 3}, expected sizes by the names of inputs"),
    "threads": ("2", "threads: got '2', expected 1 to 64"),
}


@pytest.mark.parametrize("option", WRONG_KINDS)
def test_a_value_of_another_kind_is_refused_in_a_line(option, tmp_path):
    value, words = WRONG_KINDS[option]
    source = classifier(tmp_path / "model.onnx")

    with pytest.raises(edgesparse.EdgesparseError, match=re.escape(words)):
        edgesparse.compile(source, "rpi4", tmp_path / "o.esp", sparsity=0.5, **{option: value})


@pytest.mark.parametrize("value", [float("nan"), np.array([np.inf, 1.5], np.float32)])
def test_what_is_bound_may_be_no_number(value, tmp_path):
    text = "g (float[2] x, float[2] z) => (float[2] y) { y = Add (x, z) }"
    ir.save(model(text), tmp_path / "m.onnx")

    edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "m.esp", bind={"z": value})

    assert edgesparse.verify(tmp_path / "m.esp", tmp_path / "m.onnx").agrees


@pytest.mark.parametrize("function", [edgesparse.compile, edgesparse.explain])
def test_an_unknown_option_of_pruning_is_refused_with_the_nearest(function, tmp_path):
    (tmp_path / "model.onnx").touch()

    with pytest.raises(edgesparse.EdgesparseError, match="unknown option 'sparcity', did you mean 'sparsity'"):
        function(tmp_path / "model.onnx", sparcity=0.5)


@pytest.mark.parametrize("given", ["x.npz", 3])
def test_inputs_that_are_no_arrays_are_refused(given, tmp_path):
    edgesparse.compile(model("g (float[2] x) => (float[2] y) { y = Relu (x) }"), output=tmp_path / "m.esp")

    with pytest.raises(
        edgesparse.EdgesparseError, match=f"inputs: got {type(given).__name__}, expected arrays by name"
    ):
        edgesparse.run(tmp_path / "m.esp", given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": [["flip"]]}, "augment: got (['flip'],), expected a text or several"),
        ({"kinds": [1]}, "kinds: got (1,), expected a text or several"),
        ({"kinds": "channel", "structured": 0.5}, "kinds channel; expected some of channels, heads, neurons"),
        ({"layers": {"head": None}}, "layers: head: got None, expected options such as sparsity"),
        ({"max_accuracy_drop": 0.5, "eval": ""}, "eval: got '', expected package.module:function"),
        ({"importance": "l1"}, "importance means nothing without structured; give structured too, such as 0.5"),
    ],
)
def test_what_lies_inside_a_value_is_checked(options, message, tmp_path):
    source = classifier(tmp_path / "model.onnx")
    amount = {} if "max_accuracy_drop" in options else {"sparsity": 0.5}

    with pytest.raises(edgesparse.errors.EdgesparseError) as err:
        edgesparse.prune(source, tmp_path / "out.onnx", **amount, **options)

    assert message in str(err.value)


EMPTY = {"skip": "", "layers": {}, "ray": "", "calibration": {}, "augment": [], "kinds": None, "pattern": "1x1"}


@pytest.mark.parametrize("name", EMPTY)
def test_what_is_empty_or_usual_asks_for_nothing(name):
    assert Pruning.of({name: EMPTY[name]}) is None


@pytest.mark.parametrize(
    "record", [{"sparsity": 0.5}, {"structured": 0.4}, {"sparsity": 0.5, "layers": None, "kinds": None}]
)
def test_a_record_that_leaves_options_out_means_the_usual_ones(record):
    options = Pruning.recorded(record).options

    assert (options["method"], options["allocation"], options["importance"]) == ("magnitude", "lamp", "l2")
    assert (options["layers"], options["kinds"]) == ({}, ("channels", "heads", "neurons"))


def test_the_record_says_nothing_of_structure_where_none_goes():
    assert not {"structured", "importance", "kinds", "multiple"} & set(Pruning.recorded({"sparsity": 0.5}).record)
    assert {"structured", "importance", "kinds", "multiple"} <= set(Pruning.recorded({"structured": 0.5}).record)
