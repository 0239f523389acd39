"""PyTorch models on the command line and in Python: compiled, pruned, explained, verified and measured as ONNX is."""

from __future__ import annotations

import json
import sys

import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

import edgesparse  # noqa: E402
from tests.models import assert_close  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

FACTORY = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3)).eval()

def build():
    return net(), torch.zeros(1, 3, 12, 12)
"""
IMAGE = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def factory(tmp_path, command):
    """The name of a module with factories in the working directory of `command`."""
    (tmp_path / "shipped_net.py").write_text(FACTORY)
    yield "shipped_net"
    sys.modules.pop("shipped_net", None)


@pytest.fixture
def module():
    scope = {}
    exec(FACTORY, scope)
    return scope["net"]()


def result(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_factory_goes_through_every_command(command, factory, tmp_path):
    name = f"{factory}:build"

    report = result(command("compile", name, "--sparsity", "0.5", "--json"))
    explained = result(command("explain", name, "--json"))
    pruned = result(command("prune", name, "-o", "pruned.onnx", "--sparsity", "0.5", "--json"))
    inspected = result(command("inspect", name, "--json"))
    verified = result(command("verify", report["artifact"], "--model", name, "--json"))
    measured = command("bench", report["artifact"], "--against", "onnxruntime", "--model", name, "--seconds", "0.1")

    assert (tmp_path / "build.host.esp").is_file()
    onnx.checker.check_model(tmp_path / "pruned.onnx")
    assert [layer["node"] for layer in pruned["layers"]] == ["0", "2"]
    assert [layer["layer"] for layer in explained["layers"]] == ["0", "2"]
    assert inspected["inputs"][0]["shape"] == [1, 3, 12, 12]
    assert verified["agrees"]
    assert measured.returncode == 0, measured.stderr


def test_factory_without_examples_takes_shapes_from_options_and_artifacts(command, factory):
    name = f"{factory}:net"

    report = result(command("compile", name, "--input-shape", "input=1,3,12,12", "--json"))
    verified = result(command("verify", report["artifact"], "--model", name, "--json"))
    measured = command("bench", report["artifact"], "--against", "onnxruntime", "--model", name, "--seconds", "0.1")
    failed = command("prune", name, "-o", "pruned.onnx", "--sparsity", "0.5")

    assert verified["agrees"]
    assert measured.returncode == 0, measured.stderr
    assert failed.returncode == 1
    assert failed.error.startswith(f"edgesparse: {name}: a module needs example inputs to be traced with; remedy: ")


def test_file_of_torch_export_is_compiled_and_verified(command, tmp_path, module):
    torch.export.save(torch.export.export(module, (IMAGE,)), tmp_path / "net.pt2")

    report = result(command("compile", "net.pt2", "--json"))
    verified = result(command("verify", "net.host.esp", "--model", "net.pt2", "--json"))

    assert report["artifact"] == "net.host.esp" and verified["agrees"]


def test_module_in_memory_goes_through_every_function(tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)

    artifact = edgesparse.compile(module, example_inputs=IMAGE).artifact
    pruned = edgesparse.prune(module, "pruned.onnx", example_inputs=(IMAGE,), sparsity=0.5)
    explained = edgesparse.explain(module, example_inputs={"input": IMAGE})
    verified = edgesparse.verify(artifact, module, example_inputs=IMAGE)
    measured = edgesparse.bench(artifact, against=["onnxruntime"], model=module, example_inputs=IMAGE, seconds=0.1)
    outputs = edgesparse.run(artifact, [IMAGE.numpy()])

    assert pruned.prunable_density == pytest.approx(0.5, abs=0.01)
    assert [layer.layer for layer in explained.layers] == ["0", "2"]
    assert verified.agrees and len(measured.contenders) == 2
    (actual,) = outputs.values()
    with torch.no_grad():
        assert_close(actual, module(IMAGE).numpy())


def test_masked_weights_run_as_zeros(tmp_path, module):
    torch.nn.utils.prune.l1_unstructured(module[2], "weight", amount=0.9)

    report = edgesparse.compile(module, output=tmp_path / "net.esp", example_inputs=IMAGE)

    assert report.plans[0].layers[1].layer == "2" and report.plans[0].layers[1].density == pytest.approx(0.1, abs=0.01)
    outputs = edgesparse.run(report.artifact, [IMAGE.numpy()])
    (actual,) = outputs.values()
    with torch.no_grad():
        assert_close(actual, module(IMAGE).numpy())
