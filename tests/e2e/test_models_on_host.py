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


def architectures():
    """Dense and pruned in turns; the other of each, and the large ones, with the slow tests."""
    for at, path in enumerate(onnx_light_models()):
        for kind, sparsity in (("dense", None), ("pruned", SPARSITY)):
            often = path.stem not in LARGE and (at % 2 == 0) == (sparsity is None)
            marks = [] if often else [pytest.mark.slow(part="zoo")]
            yield pytest.param(path, sparsity, id=f"{path.stem}-{kind}", marks=marks)


@pytest.mark.parametrize(("path", "sparsity"), architectures())
def test_well_known_architecture_matches_onnx_runtime(tmp_path, path, sparsity):
    check_on_host(prepared(path, tmp_path, sparsity), tmp_path)
