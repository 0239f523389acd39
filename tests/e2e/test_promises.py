"""Artifacts promise the bits of outputs that depend on integers alone, and code keeps the promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgesparse
from edgesparse.devices import targets
from edgesparse.errors import EdgesparseError, WitnessError
from edgesparse.frontend.view import view
from edgesparse.package.reader import read
from edgesparse.package.writer import write
from edgesparse.pipeline.answering import answers_of
from edgesparse.pipeline.integer_outputs import integer_outputs, promised
from edgesparse.pipeline.stages import lowered, normalised
from tests.e2e.test_integers import convolutions, feeds, odd, outputs, tokens, vnni
from tests.models import ort_run


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_numpy_gives_the_bits_of_an_emulated_board(kind, tmp_path, monkeypatch):
    """Also where windows are laid out a few rows at a time."""
    monkeypatch.setattr("edgesparse.pipeline.integer_outputs.MOST_COLUMNS", 512)
    model = convolutions(kind)
    graph = view(normalised(edgesparse.frontend.read(model), None, lambda *_: None), targets.load("rpi5").cpu)
    (name,) = promised(graph)

    found = integer_outputs(graph, [name], feeds(model))[name]

    assert np.array_equal(found, outputs(model, "rpi5", tmp_path))
    (expected,) = ort_run(model, feeds(model))
    assert np.abs(found - expected).max() <= 2.01 * 0.08  # two steps of the last scale


def test_floats_in_the_way_promise_nothing(tmp_path):
    report = edgesparse.compile(tokens("uint8"), "rpi5", tmp_path / "tokens.esp", witness=True)

    assert read(report.artifact).answers == () and read(report.artifact).version == (2, 0)
    with pytest.raises(EdgesparseError, match=r"tokens.esp: promises no bits: .* give the model .*--model"):
        edgesparse.verify(report.artifact)


def mixed() -> onnx.ModelProto:
    """An output of integers, and one of floats that are rounded together."""
    model = odd("uint8")
    model.graph.node.append(helper.make_node("Softmax", ["x"], ["soft"], "soft"))
    model.graph.output.append(helper.make_tensor_value_info("soft", TensorProto.FLOAT, (2, 5, 3)))
    return model


def test_each_output_is_promised_by_itself(tmp_path, command):
    path = edgesparse.compile(mixed(), "rpi5", tmp_path / "mixed.esp").artifact

    (answers,) = read(path).answers
    names = [tensor.name for tensor in read(path).programs[0].outputs]
    kept = [name for name, digest in zip(names, answers.digests, strict=True) if digest]
    assert "soft" in names and "soft" not in kept and kept
    shown = command("verify", path)
    assert shown.returncode == 0 and "soft" not in shown.stdout and "the bits that are promised" in shown.stdout


def test_weights_that_changed_break_the_promise(tmp_path, command):
    path = edgesparse.compile(convolutions("int8"), "rpi5", tmp_path / "net.esp").artifact
    found = read(path)
    program = found.programs[0]
    weights = bytearray(program.weights)
    weights[:: len(weights) // 64] = bytes(255 - byte for byte in weights[:: len(weights) // 64])
    write([replace(program, weights=bytes(weights))], found.manifest, path, answers=found.answers)

    shown = command("verify", path)

    assert shown.returncode == 1 and "DIFFERS" in shown.stdout and "not the bits that are promised" in shown.stdout


def test_code_with_other_bits_ends_the_compilation(tmp_path, monkeypatch):
    machine = vnni()
    if machine is None:
        pytest.skip("this machine runs no target with dot products")
    normal = normalised(edgesparse.frontend.read(convolutions("uint8")), None, lambda *_: None)
    program, plan = lowered(normal, machine, lambda *_: None)
    monkeypatch.setattr(
        "edgesparse.pipeline.witness.run",
        lambda program, feeds: {spec.name: np.zeros(spec.shape, spec.dtype) for spec in program.outputs},
    )

    with pytest.raises(WitnessError, match="code gives other bits in output"):
        answers_of([(plan.graph, program)])


def test_two_targets_promise_the_same(tmp_path):
    machine = vnni()
    if machine is None:
        pytest.skip("this machine runs no target with dot products")
    alone, both = (
        edgesparse.compile(convolutions("uint8"), chosen, tmp_path / f"{len(chosen)}.esp").artifact
        for chosen in (["rpi5"], ["rpi5", machine])
    )

    assert read(alone).answers == read(both).answers != ()
    assert all(plan.agrees for plan in edgesparse.verify(both).plans) and len(edgesparse.verify(both).plans) == 2
