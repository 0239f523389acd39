"""Operands of element types that an operator is not defined for are one line with what it takes."""

from __future__ import annotations

import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load

MISFITS = {
    "two operands": (
        "(float[3] x, double[3] z) => (float[3] y) { y = Add (x, z) }",
        r"Add 'y' \(x FLOAT\[3\], z DOUBLE\[3\]\): B 'z' is DOUBLE, expected FLOAT as A 'x'",
    ),
    "a constant": (
        "(float[3] x) => (float[3] y) <int64 z = {2}> { y = Mul (x, z) }",
        "B 'z' is INT64, expected FLOAT as A 'x'",
    ),
    "one of many": (
        "(float[3] x, float[3] u, int32[3] z) => (float[9] y) { y = Concat <axis = 0> (x, u, z) }",
        "inputs 'z' is INT32, expected FLOAT as inputs 'x'",
    ),
    "another variable": (
        "(float[3] x, bool[3] c, float16[3] z) => (float[3] y) { y = Where (c, x, z) }",
        "Y 'z' is FLOAT16, expected FLOAT as X 'x'",
    ),
    "a condition": (
        "(float[3] x, float[3] c) => (float[3] y) { y = Where (c, x, x) }",
        "condition 'c' is FLOAT, expected BOOL$",
    ),
    "indices": (
        "(float[3] x, float[3] at) => (float[3] y) { y = Gather (x, at) }",
        "indices 'at' is FLOAT, expected INT32, INT64$",
    ),
    "a sum of truths": (
        "(bool[3] x) => (bool[1] y) { y = ReduceSum (x) }",
        "data 'x' is BOOL, expected BFLOAT16, DOUBLE, FLOAT, FLOAT16, INT32, INT64, UINT32, UINT64$",
    ),
    "what a node computes": (
        "(float[3] x) => (double[3] y) { z = Cast <to = 11> (x) y = Add (z, x) }",
        r"Add 'y' .*: B 'x' is FLOAT, expected DOUBLE as A 'z'",
    ),
    **{
        f"a sum of {name}": (
            f"(float[3] x) => (float[1] y) {{ z = Cast <to = {number}> (x) y = ReduceSum (z) }}",
            f"data 'z' is {name}, expected BFLOAT16, ",
        )
        for name, number in (("STRING", 8), ("COMPLEX64", 14), ("INT4", 22))
    },
}


@pytest.mark.parametrize(("text", "message"), MISFITS.values(), ids=MISFITS)
def test_types_that_an_operator_does_not_take_are_told(text, message):
    source = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {text}')

    with pytest.raises(FrontendError, match=message):
        load(source)
