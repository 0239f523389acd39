"""Real models compile for this machine and compute what ONNX Runtime computes, dense and pruned to 80 %."""

from __future__ import annotations

import pytest

from tests.e2e.flow import check_on_host, prepared
from tests.models import REAL_NAMES, onnx_light_models, real_model

LARGE = {"light_bvlc_alexnet", "light_vgg19", "light_zfnet512"}  # hundreds of megabytes of weights
SPARSITY = 0.8

dense_and_pruned = pytest.mark.parametrize("sparsity", [None, SPARSITY], ids=["dense", "pruned"])


@dense_and_pruned
@pytest.mark.parametrize("name", REAL_NAMES)
def test_trained_model_matches_onnx_runtime(tmp_path, name, sparsity):
    check_on_host(prepared(real_model(name), tmp_path, sparsity), tmp_path)


@dense_and_pruned
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow(part="zoo")] if path.stem in LARGE else [])
        for path in onnx_light_models()
    ],
)
def test_well_known_architecture_matches_onnx_runtime(tmp_path, path, sparsity):
    check_on_host(prepared(path, tmp_path, sparsity), tmp_path)
