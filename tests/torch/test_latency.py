"""The bench of latency budgets: what it says of its runs, and one of tiny size."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
pytest.importorskip("PIL.Image", reason="pillow is not installed; the extra bench has it")
pytest.importorskip("matplotlib", reason="matplotlib is not installed; the extra bench has it")

from bench.pruning import latency as bench
from edgesparse.pipeline import budgets
from models import cifar
from tests.torch.test_cifar import NETWORK, SHAPES, pixels, stored

pytestmark = pytest.mark.slow(part="torch")

RUNS = {
    "dense": {"us": 200.0, "accuracy": 0.9, "density": 1.0},
    "searched-2": {"us": 109.0, "accuracy": 0.65, "density": 0.5, "speedup": 2.0},
    "searched-4": {"us": 60.0, "accuracy": 0.3, "density": 0.2, "speedup": 4.0},
    "uniform-0.4": {"us": 120.0, "accuracy": 0.8, "density": 0.4, "sparsity": 0.6},
    "uniform-0.2": {"us": 100.0, "accuracy": 0.4, "density": 0.2, "sparsity": 0.8},
}


def test_uniform_accuracy_is_interpolated_between_what_was_measured():
    assert bench.uniform_accuracy(RUNS, 105.0) == pytest.approx(0.5)
    assert bench.uniform_accuracy(RUNS, 160.0) == pytest.approx(0.85)


def test_a_table_shows_budgets_and_the_uniform_model_that_is_as_fast():
    shown = {title: show(RUNS["searched-2"]) for title, show in bench.columns(RUNS).items() if "agrees" not in title}

    assert shown == {
        "latency, us": "109",
        "over dense": "1.83x",
        "of the budget": "109%",
        "weights left": "50.0%",
        "test accuracy": "65.00%",
        "uniform, as fast": "58.00%",
    }
    assert bench.columns(RUNS)["of the budget"](RUNS["uniform-0.4"]) == ""


def test_a_note_counts_what_is_near_its_budget_and_what_beats_uniform_sparsity():
    note = bench.note(RUNS, {"method": "wanda", "calibration": 8}, "a processor")

    assert "Of 2 searched models 1 are within 10 % of their budget, and 1 beat uniform sparsity." in note


def test_every_run_is_made_once_and_measured_each_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cifar, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(budgets, "SECONDS", 0.2)
    stored(tmp_path / bench.DATA, pixels(16), pixels(20, seed=1))
    model = onnx.parser.parse_model(NETWORK.replace("strides = [4, 4], ", "").replace("10]", "12]"))
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32) / 4, name))
    onnx.save(model, str(tmp_path / "net.onnx"))
    command = ["--data", tmp_path, "--model", tmp_path / "net.onnx", "--calibration", 8, "--seconds", 0.02]
    command = [*map(str, command), "--speedups", "1.02", "--densities", "0.25", "-o", str(tmp_path / "out.json")]

    bench.main(command)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    first = json.loads((tmp_path / "out.json").read_text())
    bench.main(command)
    again = json.loads((tmp_path / "out.json").read_text())

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == made
    assert list(first) == ["dense", "searched-1.02", "uniform-0.25"] and all(run["agrees"] for run in first.values())
    assert all(run["us"] != again[name]["us"] for name, run in first.items())
    assert first["searched-1.02"]["speedup"] == 1.02 and "cpu" in first["dense"]["machine"]
    weight = next(t for t in onnx.load(str(tmp_path / "out" / "uniform-0.25.onnx")).graph.initializer if t.name == "w2")
    assert np.count_nonzero(onnx.numpy_helper.to_array(weight)) == 16 * 72 / 4
    assert "| searched-1.02 |" in capsys.readouterr().out
    assert "<text" in (tmp_path / "out.svg").read_text()
