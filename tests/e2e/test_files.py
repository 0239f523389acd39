"""Full disks and places that cannot be written leave no artifact and no half of one."""

from __future__ import annotations

import resource

import numpy as np
import onnx
import pytest

LIMIT_BYTES = 8 << 20


@pytest.fixture
def large_model(tmp_path):
    """A linear layer of 16 MiB."""
    model = onnx.parser.parse_model("""
    <ir_version: 9, opset_import: ["" : 20]>
    linear (float[1, 2048] x) => (float[1, 2048] y) { [layer] y = MatMul (x, weight) }
    """)
    weight = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    onnx.save(model, tmp_path / "large.onnx")
    return tmp_path / "large.onnx"


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


@pytest.mark.parametrize("words", [["compile"], ["prune", "--sparsity", "0.1", "-o", "out.onnx"]], ids=lambda c: c[0])
def test_disk_that_fills_up_leaves_nothing(program, large_model, tmp_path, words):
    before = set(tmp_path.iterdir())

    done = program(*words, large_model, preexec_fn=limit_files)

    assert done.returncode == 1, done.stderr
    assert done.error.endswith("cannot be written: File too large")
    assert set(tmp_path.iterdir()) == before


def test_disk_that_fills_up_leaves_the_artifact_that_was_there(program, large_model, tmp_path):
    (tmp_path / "out.esp").write_bytes(b"the last good one")

    done = program("compile", large_model, "-o", "out.esp", preexec_fn=limit_files)

    assert done.returncode == 1
    assert (tmp_path / "out.esp").read_bytes() == b"the last good one"


def test_directory_that_refuses_files_is_named(command, large_model):
    done = command("compile", large_model, "-o", "/proc/out.esp")

    assert done.returncode == 1
    assert done.error.startswith("edgesparse: /proc/out.esp: ")
