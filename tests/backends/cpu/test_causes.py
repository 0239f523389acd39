"""What TVM says of a failure is one short line of words."""

from __future__ import annotations

import pytest

from edgesparse.backends.cpu.causes import SHOWN, cause

OPERATOR = (
    'ir.Op(span=None, ty=ir.Type(span=None), name="relax.subtract", description="", arguments=(ir.ArgumentInfo('
    'name="x1", type_info="Tensor", description="The first input tensor."),), num_inputs=2, support_level=10)'
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            f"In {OPERATOR}, the first is T.int64(4) and the second T.int64(-3).",
            "In relax.subtract, the first is 4 and the second -3.",
        ),
        ("Traceback (most recent call last):\n  at nowhere\nValueError: Check failed: (a == b) is false: no", "no"),
        ("", "ValueError"),
        ("x" * 999, "x" * SHOWN),
    ],
    ids=["operator", "traceback", "nothing", "long"],
)
def test_a_cause_is_told_in_words(said, told):
    assert cause(ValueError(said)) == told
