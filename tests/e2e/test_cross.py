"""Artifacts for other boards run under an emulator through esrun, and compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse import load_target
from tests.e2e.flow import compiled, esrun, expect_agreement, feeds_of, prepared, steer
from tests.models import ONNX_DATA, REAL_NAMES, real_model

BOARDS = ("rpi4", "rpi5", "rpi3", "rpi4-32bit")
SMALL = ("mnist-8", "mlperf_tiny_resnet8", "mlperf_tiny_kws_dscnn")


def check_on_board(board, model, folder):
    artifact = compiled(model, folder, board)
    feeds = feeds_of(artifact)

    actual = esrun(artifact, load_target(board).cpu.isa, feeds, folder, "--threads", "2")

    expect_agreement(model, actual, feeds)
    return artifact


def check_operands_on_board(board, model, folder):
    """As `check_on_board`, and kernels keep to their operands."""
    steer(check_on_board(board, model, folder), load_target(board).cpu.isa)


@pytest.mark.parametrize(("board", "sparsity"), [("rpi4", None), ("rpi5", 0.8), ("rpi3", 0.8), ("rpi4-32bit", None)])
def test_squeezenet_runs_on_every_board(tmp_path, board, sparsity):
    model = ONNX_DATA / "light" / "light_squeezenet.onnx"

    check_on_board(board, prepared(model, tmp_path, sparsity), tmp_path)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("board", BOARDS)
def test_trained_model_runs_on_every_board(tmp_path, board, name):
    check_operands_on_board(board, prepared(real_model(name), tmp_path, 0.8), tmp_path)


PRODUCTS = """g (KIND[33] a, KIND[33] b, KIND[33] minus, KIND[33] c) => (KIND[33] y, KIND[33] z, KIND[33] w) {
    p = Mul(a, b) y = Sub(p, c) q = Mul(a, minus) z = Add(q, c) r = Mul(minus, a) w = Add(c, r)
}"""


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("target", ["x86-64-v3", "rpi4", "rpi4-32bit"])
def test_a_product_is_rounded_before_something_is_added(tmp_path, target, kind):
    """A processor that fuses both would leave what was rounded off."""
    source = tmp_path / "products.onnx"
    onnx.save(onnx.helper.make_model(onnx.parser.parse_graph(PRODUCTS.replace("KIND", kind))), source)
    a, b = np.random.default_rng(0).random((2, 33)).astype("float32" if kind == "float" else "float64")
    feeds = {"a": a, "b": b, "minus": -b, "c": a * b}

    results = esrun(compiled(source, tmp_path, target), load_target(target).cpu.isa, feeds, tmp_path)

    assert not any(results[name].any() for name in ("y", "z", "w"))


OTHERS = sorted(set(REAL_NAMES) - set(SMALL))


@pytest.mark.parametrize("name", OTHERS)
def test_larger_trained_model_runs_on_a_board(tmp_path, name):
    check_on_board("rpi4", real_model(name), tmp_path)


@pytest.mark.slow(part="boards")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("board", BOARDS)
def test_larger_trained_model_runs_on_every_board(tmp_path, board, name):
    check_operands_on_board(board, prepared(real_model(name), tmp_path, 0.8), tmp_path)
