"""Names inside the branches of an If are their own, whatever the graph around them computes under the same names."""

from __future__ import annotations

import onnx
import pytest

from edgesparse.frontend import load
from tests.frontend.graphs import floats
from tests.models import assert_close, ort_run

HEAD = '<ir_version: 9, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) <bool c = {1}> '
BRANCHES = {
    "the branch gives a constant of its own": """{
        y = If (c) <then_branch = t () => (float[3] p) <float[3] p = {1, -2, 3}> { },
                    else_branch = e () => (float[3] q) { q = Neg (x) }>
    }""",
    "the branch gives a constant and what it computes from it": """{
        a, b = If (c) <then_branch = t () => (float[3] p, float[3] r) <float[3] p = {1, -2, 3}> { r = Mul (p, x) },
                       else_branch = e () => (float[3] q, float[3] s) { q = Neg (x) s = Abs (x) }>
        y = Sub (a, b)
    }""",
    "a name that is computed later outside": """{
        r = If (c) <then_branch = t () => (float[3] t) { t = Neg (x) },
                    else_branch = e () => (float[3] t) { t = Abs (x) }>
        t = Add (r, x)
        y = Mul (t, r)
    }""",
    "the same, and nodes out of order": """{
        y = Mul (t, r)
        r = If (c) <then_branch = t () => (float[3] t) { t = Neg (u) },
                    else_branch = e () => (float[3] t) { t = Abs (x) }>
        t = Add (r, x)
        u = Exp (x)
    }""",
    "equal names at every depth": """{
        y = If (c) <
            then_branch = t () => (float[3] t) {
                t = If (c) <then_branch = i () => (float[3] t) { t = Exp (x) },
                            else_branch = j () => (float[3] t) { t = Neg (x) }>
            },
            else_branch = e () => (float[3] t) { t = Abs (x) }>
    }""",
}


@pytest.mark.parametrize("body", BRANCHES.values(), ids=BRANCHES)
def test_a_branch_computes_what_it_does_in_onnx_runtime(body):
    source = onnx.parser.parse_model(HEAD + body)
    x = {"x": floats(3)}

    assert_close(ort_run(load(source), x)[0], ort_run(source, x)[0])
