"""What TVM writes to the standard error does not reach the user, and what the user writes does."""

from __future__ import annotations

import os
import threading

import onnx
import pytest

import edgesparse
from edgesparse.backends.cpu.silence import silenced


def test_warnings_of_tvm_are_not_seen(tmp_path, capfd):
    """A power of 5 makes TVM warn of negative bases."""
    text = '<ir_version: 9, opset_import: ["" : 20]> g (float[8] x) => (float[8] y) { y = Pow (x, five) }'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.helper.make_tensor("five", onnx.TensorProto.FLOAT, [], [5.0]))

    edgesparse.compile(model, "host", tmp_path / "model.esp")

    assert capfd.readouterr().err == ""


def test_overlapping_threads_give_the_standard_error_back(capfd):
    entered, left = threading.Event(), threading.Event()

    def other():
        with silenced():
            entered.set()
            left.wait()

    thread = threading.Thread(target=other)
    with silenced():
        thread.start()
        entered.wait()
    os.write(2, b"hidden")
    left.set()
    thread.join()
    os.write(2, b"seen")

    assert capfd.readouterr().err == "seen"


def test_an_error_inside_gives_the_standard_error_back(capfd):
    with pytest.raises(KeyError), silenced():
        raise KeyError
    os.write(2, b"seen")

    assert capfd.readouterr().err == "seen"
