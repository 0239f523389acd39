"""What ONNX Runtime runs although the checker does not like it is read, under the same names, with the same results."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read
from tests.frontend.graphs import floats
from tests.models import assert_close, ort_run


def network() -> onnx.ModelProto:
    """A small network with a branch that reads values of the graph around it."""
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[n, 3, 8, 8] x) => (float[n, 4, 6, 6] y, int64[4] s) <int64[1] zero = {0}, int64[1] four = {4}> {
        a = Conv (x, w)
        b = Relu (a)
        i = Shape (b)
        s = Slice (i, zero, four)
        z = Size (s)
        c = Equal (z, four)
        k = Squeeze (c)
        y = If (k) <then_branch = t () => (p) { p = Add (a, b) }, else_branch = e () => (q) { q = Neg (a) }>
    }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(floats(4, 3, 3, 3), "w"))
    return proto


def reversed_nodes(proto: onnx.ModelProto) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def long_domain(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx", 17))  # beside the same under the short name
    for node in proto.graph.node:
        node.domain = "ai.onnx"


def negative_sizes(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1


def no_types(proto: onnx.ModelProto) -> None:
    for value in proto.graph.output:
        value.ClearField("type")


def no_name(proto: onnx.ModelProto) -> None:
    proto.graph.name = ""


DEFECTS = [no_name, reversed_nodes, long_domain, negative_sizes, no_types]


@pytest.mark.parametrize(
    "defects", [*[[defect] for defect in DEFECTS], DEFECTS], ids=lambda d: "+".join(f.__name__ for f in d)
)
def test_the_model_computes_what_it_does_in_onnx_runtime(defects):
    broken = network()
    for defect in defects:
        defect(broken)
    before = broken.SerializeToString()

    normal = load(broken)

    x = {"x": floats(1, 3, 8, 8, seed=1)}
    assert [value.name for value in normal.graph.outputs] == ["y", "s"]
    for actual, expected in zip(ort_run(normal, x), ort_run(broken, x), strict=True):
        assert_close(actual, expected)
    assert broken.SerializeToString() == before


def test_a_sound_model_is_not_copied():
    from edgesparse.frontend.repair import repaired

    proto = network()

    assert repaired(proto) is proto


@pytest.mark.parametrize("opset", [18, 19, 20])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_a_gain_for_each_group_is_one(opset, groups):
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[n, 6, 3, 5] x) => (float[n, 6, 3, 5] y) {{
        a = Relu (x)
        y = GroupNormalization <num_groups = {groups}, epsilon = 0.5> (a, s, b)
    }}"""
    proto = onnx.parser.parse_model(text)
    for name in "sb":
        proto.graph.initializer.append(onnx.numpy_helper.from_array(floats(groups, seed=ord(name)), name))
    x = {"x": floats(1, 6, 3, 5)}

    (actual,), (expected,) = ort_run(load(proto), x), ort_run(proto, x)

    assert_close(actual, expected)


def test_a_circle_is_refused():
    proto = network()
    proto.graph.node[0].input[0] = "b"

    with pytest.raises(FrontendError, match="nodes wait for each other"):
        read(proto)


def test_nodes_before_the_branches_that_read_their_values_are_in_order():
    """Only the branch reads the value: it counts for the order all the same."""
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[3] x, bool c) => (float[3] y) {
        y = If (c) <then_branch = t () => (p) { p = Neg (a) }, else_branch = e () => (q) { q = Identity (a) }>
        a = Abs (x)
    }"""

    model = read(onnx.parser.parse_model(text))

    assert [node.op_type for node in model.graph] == ["Abs", "If"]
    x = floats(3)
    np.testing.assert_array_equal(ort_run(model, {"x": x, "c": np.array(True)})[0], -np.abs(x))


def test_outputs_have_types_that_only_a_newer_opset_can_tell() -> None:
    """Inference of onnx gives up on slices of axes out of order where these are attributes."""
    text = """<ir_version: 4, opset_import: ["" : 9]>
    g (float[5, 4, 3] x) => (y) { y = Slice <axes = [2, 0], starts = [0, 1], ends = [2, 5]> (x) }"""
    proto = onnx.parser.parse_model(text)

    model = read(proto)

    assert list(model.graph.outputs[0].shape or ()) == [4, 4, 2]
