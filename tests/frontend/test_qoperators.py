"""Operators that take scales as operands are operators between conversions; what has no form is one clear line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.stages import normalised
from tests.frontend.graphs import ops
from tests.models import ort_run

BYTE = np.random.default_rng(0).integers(0, 255, (1, 4, 6, 6), dtype=np.uint8)
CONSTANTS = {
    "s": np.array(0.02, np.float32),
    "z": np.array(113, np.uint8),
    "t": np.array(0.05, np.float32),
    "u": np.array(7, np.uint8),
    "w": np.random.default_rng(1).integers(-100, 100, (3, 4, 1, 1), dtype=np.int8),
    "m": np.random.default_rng(1).integers(-100, 100, (6, 5), dtype=np.int8),
    "ws": np.array([0.5, 0.01, 3], np.float32),
    "wz": np.zeros(3, np.int8),
    "ms": np.array([0.5, 0.01, 3, 1, 2], np.float32),
    "mz": np.zeros(5, np.int8),
    "one": np.array(0.03, np.float32),
    "none": np.array(0, np.int8),
    "b": np.array([500, -300, 7], np.int32),
    "condition": BYTE > 99,
}


def source(step: str, opset: int = 13, **constants: np.ndarray) -> onnx.ModelProto:
    """A model of one operator that reads x, uint8, and computes y."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    proto = onnx.parser.parse_model(f"{head} g (uint8[1, 4, 6, 6] x) => (y) {{ y = {step} }}")
    known = CONSTANTS | constants
    read_ = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(known[name], name) for name in read_ & set(known))
    return proto


def ort(proto: onnx.ModelProto) -> np.ndarray:
    return ort_run(proto, {"x": BYTE})[0]


MS = "com.microsoft"
FORMS = {
    "QLinearConv": "QLinearConv (x, s, z, w, ws, wz, t, u, b)",
    "QLinearConv of one scale": "QLinearConv (x, s, z, w, one, none, t, u)",
    "QLinearMatMul": "QLinearMatMul (x, s, z, m, ms, mz, t, u)",
    "QLinearAdd": f"{MS}.QLinearAdd (x, s, z, x, t, u, t, u)",
    "QLinearMul": f"{MS}.QLinearMul (x, s, z, x, t, u, t, u)",
    "QLinearAveragePool": f"{MS}.QLinearAveragePool <kernel_shape = [2, 2]> (x, s, z, t, u)",
    "QLinearGlobalAveragePool": f"{MS}.QLinearGlobalAveragePool (x, s, z, t, u)",
    "QLinearConcat": f"{MS}.QLinearConcat <axis = 1> (t, u, x, s, z, x, t, u)",
    "QLinearLeakyRelu": f"{MS}.QLinearLeakyRelu <alpha = 0.2> (x, s, z, t, u)",
    "QLinearSigmoid": f"{MS}.QLinearSigmoid (x, s, z, t, u)",
    "QLinearSoftmax": f"{MS}.QLinearSoftmax <opset = 13> (x, s, z, t, u)",
    "QLinearSoftmax of old": f"{MS}.QLinearSoftmax <opset = 11, axis = 2> (x, s, z, t, u)",
    "QLinearWhere": f"{MS}.QLinearWhere (condition, x, s, z, x, t, u, t, u)",
    "DequantizeLinear": f"{MS}.DequantizeLinear (x, s, z)",
}


@pytest.mark.parametrize("opset", [11])
@pytest.mark.parametrize("step", FORMS.values(), ids=FORMS)
def test_the_operator_between_conversions_computes_the_same(step, opset):
    """But for single steps, where one of the two sums integers and the other floats."""
    proto = source(step, opset)

    normal = normalised(read(proto), None, silent)

    assert not [node for node in normal.graph if "QLinear" in node.op_type or node.domain]
    got, right = ort_run(normal, {"x": BYTE})[0], ort(proto)
    assert (got.dtype, got.shape) == (right.dtype, right.shape)
    off = np.abs(got.astype(np.float64) - right.astype(np.float64))
    assert off.max() <= (1 if right.dtype.kind in "iu" else 0)
    assert np.count_nonzero(off) <= 0.03 * off.size


def test_zero_points_that_are_left_out_are_zero():
    """ONNX Runtime infers no type then, and refuses its own operator."""
    left_out = load(source(f"{MS}.QLinearAdd (x, s, , x, t, , t)"))
    said = source(f"{MS}.QLinearAdd (x, s, nil, x, t, nil, t, nil)", nil=np.array(0, np.uint8))

    np.testing.assert_array_equal(ort_run(left_out, {"x": BYTE})[0], ort(said))


def test_a_mean_of_stored_integers_is_the_mean_of_what_they_stand_for():
    """QLinearReduceMean has no kernel in ONNX Runtime: numpy is the judge."""
    proto = source(f"{MS}.QLinearReduceMean <axes = [2, 3], keepdims = 0> (x, s, z, t, u)")

    got = ort_run(load(proto), {"x": BYTE})[0]

    means = ((BYTE.astype(np.float64) - 113) * 0.02).mean(axis=(2, 3))
    np.testing.assert_array_equal(got, np.clip(np.rint(means / np.float32(0.05)) + 7, 0, 255))


def test_the_scale_of_a_bias_is_the_product_of_the_others():
    normal = load(source(FORMS["QLinearConv"]))

    (conv,) = (node for node in normal.graph if node.op_type == "Conv")
    bias = conv.inputs[2].producer()
    np.testing.assert_array_equal(bias.inputs[0].const_value.numpy(), CONSTANTS["b"])
    np.testing.assert_array_equal(bias.inputs[1].const_value.numpy(), np.float32(0.02) * CONSTANTS["ws"])


def test_a_layer_and_its_result_keep_their_names():
    proto = source(FORMS["QLinearConv"])
    proto.graph.node[0].name = "first"

    normal = load(proto)

    assert [node.op_type for node in normal.graph if node.name == "first"] == ["Conv"]
    assert normal.graph.outputs[0].producer().op_type == "QuantizeLinear"


def test_types_of_16_bits_are_known_to_old_opsets_by_another_domain():
    wide = {"z": np.array(300, np.int16)}
    steps = f"{MS}.QuantizeLinear (f, s, z) f = {MS}.DequantizeLinear (x, t, u)"
    head = '<ir_version: 9, opset_import: ["" : 13, "com.microsoft" : 1]> g (uint8[1, 4, 6, 6] x) => (y)'
    proto = onnx.parser.parse_model(f"{head} {{ f = {steps.split(' f = ')[1]} y = {steps.split(' f = ')[0]} }}")
    known = CONSTANTS | wide
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(known[name], name) for name in "stuz")

    normal = load(proto)

    assert ops(normal) == ["DequantizeLinear", "QuantizeLinear"]
    np.testing.assert_array_equal(ort_run(normal, {"x": BYTE})[0], ort(proto))


BAD = {
    "channels last": (f"{MS}.QLinearGlobalAveragePool <channels_last = 1> (x, s, z, t, u)", {}, "channels_last"),
    "a missing scale": (f"{MS}.QLinearAdd (x, , z, x, t, u, t, u)", {}, "input 1 is missing"),
    "a missing operand": (f"{MS}.QLinearSigmoid (x, s, z)", {}, "input 3 is missing"),
    "a missing part": (f"{MS}.QLinearConcat <axis = 1> (t, u, x, s)", {}, "got 4 inputs"),
    "a scale of zero": ("QLinearConv (x, s, z, w, ws, wz, t, u)", {"t": np.float32(0)}, "scale is 0.0"),
    "a scale of the weight that is none": (
        "QLinearConv (x, s, z, w, ws, wz, t, u)",
        {"ws": np.float32([1, np.nan, 1])},
        "scale 1 of 3 is nan",
    ),
    "scales of another count": (
        "QLinearConv (x, s, z, w, ws, wz, t, u)",
        {"ws": np.ones(2, np.float32), "wz": np.zeros(2, np.int8)},
        "scales have the shape [2]",
    ),
    "a zero point of another type": (f"{MS}.QLinearSigmoid (x, s, none, t, u)", {}, "is INT8, expected UINT8"),
    "weights of a recurrent layer that are computed": (
        f"{MS}.DynamicQuantizeLSTM <hidden_size = 2> (f, x, x, , , , , , s, z, s, z)",
        {},
        "are no constants",
    ),
}


@pytest.mark.parametrize(("step", "constants", "message"), BAD.values(), ids=BAD)
def test_what_means_nothing_is_one_clear_line(step, constants, message):
    proto = source(step, **constants)
    if " (f" in step:
        proto.graph.input.append(onnx.helper.make_tensor_value_info("f", 1, [5, 1, 3]))

    with pytest.raises(FrontendError) as caught:
        load(proto)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_operators_of_that_domain_are_refused_by_name():
    with pytest.raises(FrontendError, match="com.microsoft::QOrderedGelu"):
        normalised(read(source(f"{MS}.QOrderedGelu (x, s, t)")), None, silent)


def test_a_recurrent_layer_has_the_floats_that_its_weights_stand_for():
    rng = np.random.default_rng(0)
    stored = [rng.integers(-100, 100, (1, rows, 8), dtype=np.int8) for rows in (3, 2)]
    scales = [np.full((1, 8), 0.01, np.float32), np.full(1, 0.02, np.float32)]
    zeros = [np.zeros((1, 8), np.int8), np.zeros(1, np.int8)]
    constants = dict(zip(["w", "r", "ws", "rs", "wz", "rz"], (*stored, *scales, *zeros), strict=True))
    head = '<ir_version: 9, opset_import: ["" : 13, "com.microsoft" : 1]> g (float[5, 1, 3] x) => (y)'
    step = f"y = {MS}.DynamicQuantizeLSTM <hidden_size = 2> (x, w, r, , , , , , ws, wz, rs, rz)"
    proto = onnx.parser.parse_model(f"{head} {{ {step} }}")
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    x = rng.standard_normal((5, 1, 3)).astype(np.float32)

    got = ort_run(load(proto), {"x": x})[0]

    real = [
        (w.astype(np.float32) - z.reshape(1, 1, -1)) * s.reshape(1, 1, -1)
        for w, s, z in zip(stored, scales, zeros, strict=True)
    ]
    names = {"w": real[0].swapaxes(1, 2), "r": real[1].swapaxes(1, 2)}
    floats = onnx.parser.parse_model(f"{head} {{ y = LSTM <hidden_size = 2> (x, w, r) }}")
    floats.graph.initializer.extend(onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in names.items())
    np.testing.assert_allclose(got, ort_run(floats, {"x": x})[0], atol=1e-6)
    assert np.abs(got - ort_run(proto, {"x": x})[0]).max() < 0.02
