"""Artifacts for other boards run under an emulator through esrun, and compute what ONNX Runtime computes."""

from __future__ import annotations

import pytest

from edgesparse import load_target
from tests.e2e.flow import compiled, esrun, expect_agreement, feeds_of, prepared, steer
from tests.models import ONNX_DATA, REAL_NAMES, real_model

BOARDS = ("rpi4", "rpi5", "rpi3", "rpi4-32bit")
SMALL = ("mnist-8", "mlperf_tiny_resnet8", "mlperf_tiny_kws_dscnn")


def check_on_board(board, model, folder):
    artifact = compiled(model, folder, board)
    feeds = feeds_of(artifact)

    actual = esrun(artifact, load_target(board).isa, feeds, folder, "--threads", "2")

    expect_agreement(model, actual, feeds)
    return artifact


def check_operands_on_board(board, model, folder):
    """As `check_on_board`, and kernels keep to their operands."""
    steer(check_on_board(board, model, folder), load_target(board).isa)


@pytest.mark.parametrize(("board", "sparsity"), [("rpi4", None), ("rpi5", 0.8), ("rpi3", 0.8), ("rpi4-32bit", None)])
def test_squeezenet_runs_on_every_board(tmp_path, board, sparsity):
    model = ONNX_DATA / "light" / "light_squeezenet.onnx"

    check_on_board(board, prepared(model, tmp_path, sparsity), tmp_path)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("board", BOARDS)
def test_trained_model_runs_on_every_board(tmp_path, board, name):
    check_operands_on_board(board, prepared(real_model(name), tmp_path, 0.8), tmp_path)


OTHERS = sorted(set(REAL_NAMES) - set(SMALL))


@pytest.mark.parametrize("name", OTHERS)
def test_larger_trained_model_runs_on_a_board(tmp_path, name):
    check_on_board("rpi4", real_model(name), tmp_path)


@pytest.mark.slow(part="boards")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("board", BOARDS)
def test_larger_trained_model_runs_on_every_board(tmp_path, board, name):
    check_operands_on_board(board, prepared(real_model(name), tmp_path, 0.8), tmp_path)
