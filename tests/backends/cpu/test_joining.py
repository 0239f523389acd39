"""A layer and the depthwise convolution behind it in one kernel: where it pays, with the outputs of ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Tile
from tests.backends.cpu.executor import HOST, key, load_calls, run_image, with_cpu
from tests.backends.cpu.planned import lowered_by
from tests.backends.cpu.single import random, runnable_targets
from tests.backends.cpu.test_weighted import NARROW, TILED, judge, model_of, sparse_random

M, K, SIZE = 41, 2, (33, 17)
TILE = SparseTile(2, 1000, 4)
WINDOWS = {
    "3x3": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "3x3_stride_2": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    "5x5_same_upper": {"kernel_shape": [5, 5], "pads": [1, 1, 2, 2], "strides": [2, 2]},
    "dilated": {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "dilations": [2, 2]},
}


def expansion(
    size=SIZE, *, m=M, k=K, batch=1, density=0.4, kernel=1, activation="Relu", **window
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """conv -> activation -> depthwise -> activation."""
    window = window or WINDOWS["3x3"]
    x = random((batch, k, *size))
    constants = {
        "w": sparse_random((m, k, kernel, kernel), density),
        "b": random((m,), 3),
        "dw": random((m, 1, *window["kernel_shape"]), 4),
        "db": random((m,), 5),
    }
    pads = {"pads": [kernel // 2] * 4}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], name="expand", **pads),
        helper.make_node(activation, ["a"], ["c"], name="act1"),
        helper.make_node("Conv", ["c", "dw", "db"], ["d"], name="depthwise", group=m, **window),
        helper.make_node(activation, ["d"], ["y"], name="act2"),
    ]
    return model_of(nodes, {"x": x}, constants), {"x": x}


def lowered(proto, target: Target, tile: Tile, **options) -> Lowered:
    return lowered_by(ir.from_proto(proto), lambda _: tile, target, **options)


def l2_for(rows: int, size=SIZE) -> int:
    """An L2 cache, in bytes, of which half holds `rows` channels."""
    return 2 * rows * 4 * size[0] * size[1]


HOST_OF_8 = with_cpu(HOST, l2_bytes=l2_for(8))


def is_joined(result: Lowered) -> bool:
    return any(call.op.count("Conv") > 1 for call in result.calls)


def assert_match(result: Lowered, proto, inputs, target: Target) -> None:
    assert_all_match([(result, proto, inputs)], target)


def assert_all_match(found, target: Target) -> None:
    """Every lowered model, all compiled together, gives the outputs of ONNX Runtime."""
    image = load_calls([call for result, _, _ in found for call in result.calls], target)
    for result, proto, inputs in found:
        actual = run_image(image, result.calls, inputs)[key(result.outputs["y"])]
        expected = judge(proto, inputs)
        np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("tile", TILED)
def test_joined_layers_match(target, tile):
    """Ranges of one, two and three groups of rows; the last has fewer, or none."""
    found = []
    for number, (m, units) in enumerate([(40, 1), (40, 2), (41, 2), (41, 3)]):
        model = expansion(m=m, k=1, density=(0.0, 0.1, 0.4, 1.0)[number])
        result = lowered(model[0], with_cpu(target, l2_bytes=l2_for(units * tile.rows)), tile)
        assert is_joined(result), (m, units)
        found.append((result, *model))

    assert_all_match(found, target)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_windows_and_activations_match(target):
    found = []
    for window, activation in zip(WINDOWS.values(), itertools.cycle(["Relu", "HardSwish", "Sigmoid"]), strict=False):
        model = expansion(m=64, k=7, activation=activation, **window)
        for tile in (DenseTile(4, 5, 6), SparseTile(2, 5, 4)):  # two blocks of K
            result = lowered(model[0], with_cpu(target, l2_bytes=l2_for(2 * tile.rows)), tile)
            assert is_joined(result), (window, activation)
            found.append((result, *model))

    assert_all_match(found, target)


def test_a_convolution_with_a_window_joins_too():
    proto, inputs = expansion(m=64, k=1, kernel=3)
    target = with_cpu(HOST, l2_bytes=l2_for(16))

    result = lowered(proto, target, TILE)

    assert is_joined(result)
    assert_match(result, proto, inputs, target)


def test_what_is_handed_over_takes_no_place_in_the_arena():
    proto, _ = expansion()

    joined, apart = (lowered(proto, HOST_OF_8, TILE, join=joins) for joins in (True, False))

    assert [call.op for call in joined.calls] == ["Conv+Relu+Conv+Relu"]
    assert [call.op for call in apart.calls] == ["Conv+Relu", "Conv+Relu"]
    assert {w.name for call in joined.calls for w in call.writes} == {joined.outputs["y"].name}


def test_exposing_values_changes_no_kernel():
    """What is compared layer by layer are the kernels that ship; what these hand over inside exists nowhere."""
    proto, _ = expansion()

    shipped, exposed = (lowered(proto, HOST_OF_8, TILE, expose=expose) for expose in (False, True))

    assert is_joined(exposed)
    assert set(exposed.outputs) == set(shipped.outputs) == {"y"}
    assert [call.kernel.symbol for call in exposed.calls] == [call.kernel.symbol for call in shipped.calls]


@pytest.mark.parametrize(
    ("changes", "l2_bytes"),
    [
        pytest.param({}, 1 << 20, id="the cache holds what is handed over"),
        pytest.param({"k": 32}, l2_for(8), id="packing x again costs more"),
        pytest.param({"k": 1}, l2_for(3), id="no group of rows fits"),
        pytest.param({"batch": 2, "k": 1}, l2_for(8), id="two images"),
    ],
)
def test_layers_stay_apart_where_joining_does_not_pay(changes, l2_bytes):
    proto, inputs = expansion(**changes)
    target = with_cpu(HOST, l2_bytes=l2_bytes)

    result = lowered(proto, target, TILE)

    assert not is_joined(result)
    assert_match(result, proto, inputs, target)


def test_lanes_over_channels_stay_apart():
    proto, inputs = expansion((40, 16))

    result = lowered(proto, HOST_OF_8, NARROW[0])

    assert not is_joined(result)
    assert_match(result, proto, inputs, HOST_OF_8)


@pytest.mark.parametrize("other", ["reader", "residual", "output", "multiplier"])
def test_layers_stay_apart_whose_values_others_need(other):
    proto, inputs = expansion(k=1)
    graph = proto.graph
    depthwise = graph.node[2]
    if other == "reader":
        graph.node[3].CopyFrom(helper.make_node("Add", ["d", "c"], ["y"], name="act2"))
    elif other == "residual":
        graph.node[3].CopyFrom(helper.make_node("Add", ["d", "d"], ["y"], name="act2"))
        graph.node[1].CopyFrom(helper.make_node("Add", ["a", "r"], ["c"], name="act1"))
        graph.input.append(helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, (1, M, *SIZE)))
        inputs["r"] = random((1, M, *SIZE), 7)
    elif other == "output":
        graph.output.append(helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, (1, M, *SIZE)))
    else:
        weight, bias = (next(t for t in graph.initializer if t.name == name) for name in ("dw", "db"))
        weight.CopyFrom(onnx.numpy_helper.from_array(random((2 * M, 1, 3, 3), 4), "dw"))
        bias.CopyFrom(onnx.numpy_helper.from_array(random((2 * M,), 5), "db"))
        del graph.value_info[:]
        graph.output[0].type.tensor_type.ClearField("shape")
    assert depthwise.name == "depthwise"
    proto = onnx.shape_inference.infer_shapes(proto)

    result = lowered(proto, HOST_OF_8, TILE)

    assert not is_joined(result)
    assert_match(result, proto, inputs, HOST_OF_8)
