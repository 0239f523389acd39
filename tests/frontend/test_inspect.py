"""`describe`: counts by hand."""

from __future__ import annotations

import numpy as np

from edgesparse.frontend import describe, load, read
from tests.frontend.graphs import floats, model
from tests.models import real_model

TEXT = """g (float["n", 2, 8, 8] x) => (float["n", 5] y) {
    c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
    r = Relu (c)
    f = Flatten (r)
    y = Gemm <transB = 1> (f, v, b)
}"""


def _source():
    weight = floats(3, 2, 3, 3)
    weight[0] = 0
    return model(TEXT, w=weight, v=floats(5, 48), b=floats(5))


def test_counts_match_a_hand_calculation():
    summary = describe(_source())

    assert summary.ops == {"Conv": 1, "Relu": 1, "Flatten": 1, "Gemm": 1}
    assert summary.inputs[0].shape == ("n", 2, 8, 8)
    assert (summary.parameters, summary.nonzeros) == (54 + 240 + 5, 36 + 240 + 5)
    assert summary.macs == 3 * 4 * 4 * 18 + 240
    assert summary.effective_macs == 2 * 4 * 4 * 18 + 240


def test_normal_form_has_the_same_work():
    assert describe(load(_source())).macs == describe(_source()).macs


def test_model_is_not_changed():
    source = _source()

    describe(source)

    assert source.graph.inputs[0].shape[0].value == "n"


def test_unknown_shapes_leave_macs_unknown():
    text = """g (float[6] x) => (float[?, 4] y) {
        n = NonZero (x) c = Cast <to = 1> (n) t = Transpose (c) y = MatMul (t, w)
    }"""

    assert describe(model(text, w=floats(1, 4))).macs is None


def test_int8_weights_are_seen_through_dequantization():
    layers = describe(read(real_model("mlperf_tiny_kws_dscnn"))).layers

    assert any(layer.quantized and layer.dtype == "int8" for layer in layers)
    assert all(np.isfinite(layer.density) for layer in layers)
