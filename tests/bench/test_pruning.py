"""What the benches on pruning share: runs that are kept, tables, and pruning in one shot."""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnx
import pytest

from bench.pruning import sweep
from bench.pruning.deploy import deploy
from bench.pruning.results import Results

NETWORK = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[1, 8] x) => (float[1, 4] y) { h = MatMul (x, w1) r = Relu (h) y = MatMul (r, w2) }
"""


@pytest.fixture
def network(tmp_path):
    model = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(0)
    for name, shape in (("w1", (8, 16)), ("w2", (16, 4))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


def kept(path):
    """Share of nonzeros by weight."""
    found = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(str(path)).graph.initializer}
    return {name: np.count_nonzero(array) / array.size for name, array in found.items()}


def test_runs_are_kept_and_done_again_only_with_other_settings(tmp_path):
    Results(tmp_path / "out.json", {"epochs": 1}).add("dense", {"score": 3})

    same, other = (Results(tmp_path / "out.json", {"epochs": epochs}) for epochs in (1, 2))

    assert same.done("dense") and not same.done("sparse") and not other.done("dense")
    assert same.runs == {"dense": {"settings": {"epochs": 1}, "score": 3}}


def test_tables_show_every_run(tmp_path):
    results = Results(tmp_path / "out.json", {})
    results.add("dense", {"score": 3, "agrees": True})
    results.add("sparse", {"score": 4, "agrees": False})

    results.write_table({"points": lambda run: str(run["score"])}, "Of ten.")

    expected = "| run | points |\n|---|---|\n| dense | 3 |\n| sparse | 4 |\n\nOf ten.\n"
    assert (tmp_path / "out.md").read_text() == expected


def test_what_is_deployed_agrees_with_onnx_runtime_and_says_its_size(network):
    found = deploy(network)

    assert found.agrees and found.max_error < 1e-5 and found.density == 1.0
    assert found.artifact_bytes == network.with_suffix(".esp").stat().st_size


def test_a_sweep_prunes_scores_and_skips(network, tmp_path):
    def run():
        results = Results(tmp_path / "out.json", {})
        scored = []
        x = np.ones((1, 8), np.float32)
        options = {"calibration": {"x": x}, "inputs": {"x": x}, "skip": ["*y*"]}
        sweep.sweep(network, names, results, score=lambda path: scored.append(path) or len(scored), **options)
        return scored

    names = ["dense", "magnitude-50", "magnitude-2of4", "magnitude-80"]
    last = onnx.load(str(network)).graph.node[-1]
    assert last.output[0] == "y"

    first, again = run(), run()

    assert [path.stem for path in first] == names and again == []
    runs = json.loads((tmp_path / "out.json").read_text())
    assert [run["score"] for run in runs.values()] == [1, 2, 3, 4] and all(run["agrees"] for run in runs.values())
    for name, share in zip(names, (1, 0.5, 0.5, 0.2), strict=True):
        assert kept(tmp_path / "out" / f"{name}.onnx") == pytest.approx({"w1": share, "w2": 1}, abs=0.01)


def test_names_are_those_of_all_methods():
    assert sweep.names(["50", "80"])[0] == "dense"
    assert {"magnitude-50", "magnitude-80"} <= set(sweep.names(["50", "80"]))


def test_the_command_line_asks_for_all_runs_or_some_and_no_others(capsys):
    def runs(*arguments):
        return sweep.parsed(argparse.ArgumentParser(), ["50"], "out.json", arguments).runs

    assert runs() == sweep.names(["50"]) and runs("--runs", "dense,wanda-50") == ["dense", "wanda-50"]
    with pytest.raises(SystemExit):
        runs("--runs", "magic-50")
    assert "--runs: 'magic-50' is unknown; expected some of dense, magnitude-50" in capsys.readouterr().err
