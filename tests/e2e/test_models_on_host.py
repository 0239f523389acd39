"""Real models compile for this machine and compute what ONNX Runtime computes, dense or pruned to 80 %."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import pytest

from tests.e2e.flow import check_on_host, prepared
from tests.models import ONNX_DATA, REAL_NAMES, onnx_light_models, real_model

LARGE = {"light_bvlc_alexnet", "light_densenet121", "light_vgg19", "light_zfnet512"}  # in megabytes or in layers
SPARSITY = 0.8


def in_turns(names: Iterable[str], large: Collection[str] = ()) -> Iterator[object]:
    """Dense and pruned in turns; the other of each, and the large ones, with the slow tests."""
    for at, name in enumerate(names):
        for kind, sparsity in (("dense", None), ("pruned", SPARSITY)):
            often = name not in large and (at % 2 == 0) == (sparsity is None)
            marks = [] if often else [pytest.mark.slow(part="zoo")]
            yield pytest.param(name, sparsity, id=f"{name}-{kind}", marks=marks)


@pytest.mark.parametrize(("name", "sparsity"), in_turns(REAL_NAMES))
def test_trained_model_matches_onnx_runtime(tmp_path, name, sparsity):
    check_on_host(prepared(real_model(name), tmp_path, sparsity), tmp_path)


@pytest.mark.parametrize(("name", "sparsity"), in_turns([path.stem for path in onnx_light_models()], LARGE))
def test_well_known_architecture_matches_onnx_runtime(tmp_path, name, sparsity):
    path = ONNX_DATA / "light" / f"{name}.onnx"

    check_on_host(prepared(path, tmp_path, sparsity), tmp_path)
