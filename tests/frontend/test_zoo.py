"""Exported architectures: the normal form computes the same and is as small as it should be."""

from __future__ import annotations

import pytest

from edgesparse.frontend import load
from tests.frontend.graphs import ops
from tests.models import assert_close, ort_run, random_inputs

pytestmark = pytest.mark.slow(part="zoo")

MODELS = ("resnet50", "mobilenetv1", "mobilenetv2", "vit_small", "minilm")


@pytest.fixture(scope="module", params=MODELS)
def exported(request):
    pytest.importorskip("transformers", reason="needs the zoo extra")
    from models import zoo

    return request.param, zoo.cached(request.param)


def test_exported_model_computes_the_same(exported):
    _, path = exported

    normal = load(path)

    inputs = random_inputs(normal)
    for actual, expected in zip(ort_run(normal, inputs), ort_run(path, inputs), strict=True):
        assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_transformers_use_single_operators(exported):
    name, path = exported
    if name not in ("vit_small", "minilm"):
        pytest.skip("not a transformer")

    found = ops(load(path))

    layers = {"vit_small": 12, "minilm": 6}[name]
    assert found.count("Gelu") == found.count("Softmax") == layers
    assert found.count("LayerNormalization") == 2 * layers + 1
    assert "Erf" not in found and "Pow" not in found
