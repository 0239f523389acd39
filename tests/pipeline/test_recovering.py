"""Recovery says what it needs before it reads a model; PyTorch is not needed for that."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import edgesparse
from edgesparse.errors import PruneError

SAMPLES = {"x": np.zeros((8, 4), np.float32)}
GIVEN = {"sparsity": 0.5, "recover": "2m", "calibration": SAMPLES}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recover": "soon"}, "recover: got 'soon', expected a time such as 2m, 90s or 1h"),
        ({"recover": "0s"}, "recover: got '0s', expected a time such as 2m, 90s or 1h"),
        ({"recover": None, "augment": ["flip"]}, "augment means nothing without recover; give recover too, such as 2m"),
    ],
)
def test_what_recovery_needs_is_said(options, message, tmp_path):
    with pytest.raises(PruneError, match=message):
        edgesparse.prune("model.onnx", tmp_path / "out.onnx", **{**GIVEN, **options})


@pytest.fixture
def without_torch(monkeypatch):
    """An installation without the extra."""
    for name in [name for name in sys.modules if name.startswith("edgesparse.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delattr(edgesparse, "torch", raising=False)


def test_without_pytorch_the_remedy_is_said(without_torch, tmp_path):
    remedy = r"recover needs PyTorch; remedy: pip install 'edgesparse\[torch\]'"
    out = tmp_path / "out.onnx"

    with pytest.raises(PruneError, match=remedy):
        edgesparse.prune("model.onnx", out, **GIVEN)
    with pytest.raises(PruneError, match=remedy):
        edgesparse.recover("sparse.onnx", out, teacher="model.onnx", calibration=SAMPLES)
