"""Large architectures exported from transformers: same results as ONNX Runtime, and cheap to load."""

from __future__ import annotations

import pytest

import edgesparse
from models import zoo
from tests.e2e.flow import check_on_host, prepared
from tests.e2e.test_cross import BOARDS, check_operands_on_board
from tests.e2e.test_footprint import check_load_time, check_memory

NAMES = ("resnet50", "mobilenetv1", "mobilenetv2", "vit_small", "minilm")
ON_HOST = (
    *NAMES,
    "efficientnet_b0",
    "convnext_tiny",
    "mobilevit_small",
    "segformer_b0",
    "distilbert",
    "whisper_tiny",
    "smollm",
)


def exported(name):
    pytest.importorskip("torch", reason="torch is not installed; the extra zoo has it")
    pytest.importorskip("transformers", reason="transformers is not installed; the extra zoo has it")
    return zoo.cached(name)


@pytest.mark.slow(part="zoo")
@pytest.mark.parametrize("sparsity", [None, 0.8], ids=["dense", "pruned"])
@pytest.mark.parametrize("name", ON_HOST)
def test_architecture_matches_onnx_runtime(tmp_path, name, sparsity):
    check_on_host(prepared(exported(name), tmp_path, sparsity), tmp_path)


@pytest.mark.slow(part="boards")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("board", BOARDS)
def test_pruned_architecture_runs_on_every_board(tmp_path, board, name):
    check_operands_on_board(board, prepared(exported(name), tmp_path, 0.8), tmp_path)


@pytest.mark.slow(part="boards")
@pytest.mark.parametrize("name", NAMES)
def test_dense_architecture_runs_on_a_board(tmp_path, name):
    check_operands_on_board("rpi4", exported(name), tmp_path)


@pytest.mark.slow(part="zoo")
def test_pruned_mobilenet_loads_quickly_and_keeps_to_its_memory(tmp_path):
    report = edgesparse.compile(exported("mobilenetv1"), "host", tmp_path / "mobilenet.esp", sparsity=0.9)

    check_load_time(report.artifact)
    check_memory(report.artifact)
