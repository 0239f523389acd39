"""The limit report: operations counted by hand, and time added up by group."""

from __future__ import annotations

import numpy as np
import onnx
from edgesparse_runtime import StepTiming

from bench.limit import ATTENTION, DENSE, DEPTHWISE, JOINED, SPARSE, flops, grouped

GRAPH = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[1, 2, 4, 4] x, float[1, 3, 5] a, float[1, 5, 6] b) => (float[1, 3, 2, 2] y, float[1, 3, 6] z)
<float[3, 2, 1, 1] w = {1.0, 0.0, 0.0, 2.0, 3.0, 4.0}>
{
    y = Conv <strides = [2, 2]> (x, w)
    z = MatMul (a, b)
}
"""


def test_operations_are_those_on_nonzeros_and_of_activations(tmp_path):
    onnx.save(onnx.parser.parse_model(GRAPH), str(tmp_path / "net.onnx"))

    # 4 nonzeros on 4 pixels; [3, 5] @ [5, 6]
    assert flops(tmp_path / "net.onnx") == 2 * 4 * 4 + 2 * 3 * 5 * 6


def test_time_is_added_up_by_group_longest_first():
    def step(name: str, op: str, *times_us: float) -> StepTiming:
        return StepTiming(name, op, "kernel", 1, times_us)

    steps = [
        step("stem", "Conv+Relu", 5.0),
        step("stem/pack", "Pad", 1.0),
        step("depthwise", "Conv+Clip", 3.0),
        step("project", "MatMul+Add", *np.linspace(10.0, 20.0, 11)),  # p10 is 11
        step("classify", "Gemm", 6.0),
        step("scores", "MatMul", 2.0),
        step("expand", "Conv+Clip+Conv+Clip", 1.5),
    ]

    found = grouped(steps, {"stem": "dense", "project": "sparse", "classify": "sparse", "expand": "sparse"})

    assert found == {SPARSE: 17.0, DENSE: 5.0, DEPTHWISE: 3.0, ATTENTION: 2.0, JOINED: 1.5, "Pad": 1.0}
    assert list(found) == [SPARSE, DENSE, DEPTHWISE, ATTENTION, JOINED, "Pad"]
