"""The forms of a model that are compared compute the same; ONNX Runtime is the judge."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bench.rounds import relative_error
from edgesparse import reference
from models.older import OPSET, older
from models.small import SMALL
from models.variants import Variants
from tests.models import assert_close, ort_run

NEWER = """
<ir_version: 10, opset_import: ["" : 20]>
block (float[1, 4, 8] x) => (float[1, 4, 8] y)
<float[8] scale = {1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0}, float[8] bias = {0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 2.0},
 float zero = {0.0}, int64[3] shape = {1, 4, 8}>
{
    n = LayerNormalization <axis = -1, epsilon = 0.01> (x, scale, bias)
    g = Gelu (n)
    s = Softmax <axis = -1> (g)
    bad = IsNaN (s)
    kept = Where (bad, zero, s)
    sum = Add (kept, g)
    y = Reshape <allowzero = 1> (sum, shape)
}
"""


def test_older_form_computes_the_same_with_older_operators():
    model = onnx.parser.parse_model(NEWER)
    x = {"x": np.random.default_rng(0).standard_normal((1, 4, 8)).astype(np.float32)}

    rewritten = older(model)

    onnx.checker.check_model(rewritten)
    assert rewritten.opset_import[0].version == OPSET
    assert not {"Gelu", "LayerNormalization", "IsNaN", "Where"} & {node.op_type for node in rewritten.graph.node}
    assert_close(ort_run(rewritten, x)[0], ort_run(model, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_small_models_keep_their_scale_and_survive_int8(name, tmp_path):
    forms = Variants(name, tmp_path)
    inputs = forms.inputs()

    dense, quantised = (reference.evaluate(path, inputs) for path in (forms.dense(), forms.int8()))

    (scores,) = dense.values()
    assert scores.shape == (1, 100) and 0.1 < scores.std() < 100
    assert 0 < relative_error(quantised, dense) < 0.1
    ops = {node.op_type for node in onnx.load(str(forms.int8())).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops


def test_pruned_copies_have_the_density_asked_for(tmp_path):
    forms = Variants("small_resnet", tmp_path)

    weights = [w for w in onnx.load(str(forms.pruned(0.2, "1x1"))).graph.initializer if len(w.dims) == 4]

    densities = [np.count_nonzero(array) / array.size for array in map(onnx.numpy_helper.to_array, weights)]
    assert densities[0] == 1.0  # the first convolution stays dense
    np.testing.assert_allclose(densities[1:], 0.2, atol=0.01)
