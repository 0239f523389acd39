"""Options that no function knows are refused before anything is done, with the nearest that it knows."""

from __future__ import annotations

import pytest

import edgesparse

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

    with pytest.raises(TypeError, match=f"{function.__name__}: unknown option '{wrong}', did you mean '{right}'"):
        function(**{wrong: 1})


@pytest.mark.parametrize("function", [edgesparse.compile, edgesparse.explain])
def test_an_unknown_option_of_pruning_is_refused_with_the_nearest(function, tmp_path):
    (tmp_path / "model.onnx").touch()

    with pytest.raises(edgesparse.EdgesparseError, match="unknown option 'sparcity', did you mean 'sparsity'"):
        function(tmp_path / "model.onnx", sparcity=0.5)
