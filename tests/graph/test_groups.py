"""What becomes of the result of an operator between stored integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.graph.groups import Result
from edgesparse.graph.quantized import Quantization
from edgesparse.numerics import element
from tests.models import ort_run

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("zero", [0, 3, 127])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 6.0), (0.0, LARGEST), (-LARGEST, 1.0), (-LARGEST, LARGEST), (2.0, 2.03), (90.0, 99.0)]
)
def test_limits_are_what_a_clip_and_a_quantizer_leave_of_all_numbers(kind, zero, low, high):
    """A bound of the largest float32 number, as exporters write it for none, is infinite in steps of the scale."""
    by = Quantization(element(kind), np.float32(0.02).reshape(()), np.int32(zero).reshape(()))
    bounds = f"float low = {{{low:.9g}}}, float high = {{{high:.9g}}}"
    text = f"""clip (float[n] x) => ({kind}[n] y) <{bounds}, float scale = {{0.02}}, {kind} zero = {{{zero}}}> {{
        limited = Clip (x, low, high)
        y = QuantizeLinear (limited, scale, zero)
    }}"""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')
    (stored,) = ort_run(model, {"x": np.linspace(-50, 50, 10001, dtype=np.float32)})

    assert Result((), None, by, low, high).limits() == (stored.min(), stored.max())
