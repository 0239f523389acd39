"""`explain` tells every layer's times and reason, as text, JSON and one page; `tune` writes a cost table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgesparse
from edgesparse.devices import costs, targets
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.ops import graph_of
from edgesparse.pipeline.trial_model import experiment_model
from edgesparse.schedule import experiments
from edgesparse.schedule.cost import time_us, work
from edgesparse.schedule.estimate import estimate
from tests.pages.parsed import Page

HOSTILE = "<script>alert('1')</script>"


@pytest.fixture
def model(tmp_path):
    """A convolution with a hostile name, a depthwise one and a linear layer."""
    rng = np.random.default_rng(0)
    shapes = {"wide": (64, 32, 1, 1), "each": (64, 1, 3, 3), "head": (64, 10)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "wide"], ["a"], name=HOSTILE),
            helper.make_node("Conv", ["a", "each"], ["b"], name="depthwise", group=64, pads=[1] * 4),
            helper.make_node("Relu", ["b"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["c"], name="pool"),
            helper.make_node("Flatten", ["c"], ["d"], name="flat"),
            helper.make_node("MatMul", ["d", "head"], ["y"], name="linear"),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 32, 14, 14))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 10))],
        weights,
    )
    path = tmp_path / "<model>.onnx"
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_explain_tells_what_compile_does(command, model):
    done = command("explain", model, "--target", "rpi4", "--sparsity", "0.9", "--json")
    report = json.loads(done.stdout)
    compiled = edgesparse.compile(model, "rpi4", model.with_suffix(".esp"), sparsity=0.9)

    rows = report["layers"]
    assert [row["layer"] for row in rows] == [HOSTILE, "linear"]
    assert [row["kernel"] for row in rows] == [plan.kernel for plan in compiled.plans[0].layers]
    assert [(row["m"], row["k"], row["n"]) for row in rows] == [(64, 32, 196), (10, 64, 1)]
    assert (rows[0]["density"], rows[0]["kernel"], rows[0]["reason"][:12]) == (1.0, "dense", "has no zeros")
    assert rows[1]["density"] == pytest.approx(0.1) and "a single column" in rows[1]["reason"]
    assert report["predicted_us"] == pytest.approx(sum(row["predicted_us"] for row in rows))
    assert [(row["layer"], row["why"]) for row in report["fixed"]] == [("depthwise", "depthwise: a kernel of its own")]
    assert report["other_ops"]["Relu"] == 1


def test_explain_prints_a_row_for_each_layer_and_where_the_times_are_from(command, model):
    done = command("explain", model, "--target", "rpi3")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["layer", "op", "MxKxN", "type"]
    assert sum(" f32 " in line for line in lines) == 2
    assert sum(line.startswith((HOSTILE, "linear", "depthwise")) for line in lines) == 3
    assert "predicted for rpi3 (cost table estimated: " in done.stdout


def test_explain_measures_the_layers_as_they_are_compiled(command, model, monkeypatch):
    monkeypatch.setattr("edgesparse.pipeline.layer_times.SECONDS", 0.0)

    shown = command("explain", model, "--measured", "--threads", "2")
    report = edgesparse.explain(model, measured=True)

    assert shown.returncode == 0, shown.stderr
    assert "sparse us  measured us" in shown.stdout.splitlines()[0]
    assert shown.stdout.count("\nmeasured: weighted layers ") == 1
    artifact = edgesparse.compile(model, "host", model.with_suffix(".esp")).artifact
    steps = edgesparse.bench(artifact, seconds=0.0, steps=True).steps
    assert set(report.measured.us) == {step.name for step in steps}
    assert all(us > 0 for us in report.measured.us.values()) and HOSTILE in report.measured.us


def test_explain_never_measures_what_is_emulated(command, model):
    foreign = "rpi4" if targets.load("host").cpu.isa != "aarch64" else "x86-64-v3"

    assert (
        "cannot be measured here: code is built for "
        in command("explain", model, "--target", foreign, "--measured").error
    )
    assert "--cores needs --measured" in command("explain", model, "--on", "pi@board", "--cores", "big").stderr


def test_the_page_shows_what_the_report_says_and_escapes_names(command, model, tmp_path):
    done = command("explain", model, "--target", "rpi4", "--sparsity", "0.9", "--json", "--html", tmp_path / "r.html")
    page, report = Page((tmp_path / "r.html").read_text()), json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert not page.unclosed and len(page.of("script")) == 1
    assert HOSTILE in page.text and "<model>.onnx" in page.text and "on rpi4" in page.text
    rows = {name: words for words in page.words("tr") for name in (HOSTILE, "linear", "depthwise") if name in words}
    for row in report["layers"]:
        assert f"{row['dense_us']:.1f}" in rows[row["layer"]] and f"{row['sparse_us']:.1f}" in rows[row["layer"]]
        assert row["reason"] in rows[row["layer"]] and row["kernel"] in rows[row["layer"]]
    assert "depthwise: a kernel of its own" in rows["depthwise"]
    assert "of 3 layers are bound by memory" in page.text


def test_tune_writes_an_artifact_and_fits_what_was_measured_elsewhere(command, tmp_path, monkeypatch):
    """Times made from the estimate of a faster clock come back as a cost table that predicts them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    target = targets.load("rpi3")
    tried = experiments(target.cpu)
    found = {op.layer.name: op for op in graph_of(experiment_model(tried)).weighted}
    truth = estimate(replace(target, cpu=replace(target.cpu, clock_hz=2_400_000_000)))
    works = [work(found[e.name], WeightCounts(found[e.name].layer.weight, 1), e.tile, target.cpu) for e in tried]
    steps = [{"name": e.name, "p10_us": time_us(units, truth)} for e, units in zip(tried, works, strict=True)]
    (tmp_path / "times.json").write_text(json.dumps({"steps": steps}))

    report = json.loads(command("tune", "--target", "rpi3", "--measured", "times.json", "--json").stdout)

    kept = targets.cached_costs(target)
    assert report["file"] == str(kept) and report["within_20_percent"] == 1.0
    assert targets.load("rpi3").cost_table == costs.read(kept)
    assert targets.load("rpi3").cost_table.origin == "measured"


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"steps": [{"name": "a"}]}', '{"steps": 3}', "[]"])
def test_tune_refuses_measurements_of_another_kind(command, tmp_path, text):
    (tmp_path / "times.json").write_text(text)

    done = command("tune", "--target", "rpi4", "-o", "out.toml", "--measured", "times.json")

    assert done.returncode == 1
    assert "times.json: not what `esrun FILE.esp --tune` prints; remedy: run it again" in done.error
    assert not (tmp_path / "out.toml").exists()


def test_tune_refuses_a_device_that_is_not_this_one_and_says_how_it_is_measured(command, tmp_path):
    done = command("tune", "--target", "rpi4", "-o", "out.toml")

    assert done.returncode == 1
    assert "rpi4 cannot be measured here: code is built for aarch64" in done.error
    assert "-o tune.esp" in done.error and not (tmp_path / "out.toml").exists()


def test_tune_refuses_measurements_that_cannot_be_read(command):
    assert "none.json: cannot be read: No such file" in command("tune", "--measured", "none.json", "-o", "o.toml").error
