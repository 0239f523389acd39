"""What is quantized stays quantized: the normal form has every scale of the file, and computes the same bits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load
from tests.frontend.graphs import floats, model, ops
from tests.models import ort_run, random_inputs

SCALES = np.array([0.5, 0.01, 1e-4, 3.0], np.float32)
PARAMETERS = {
    "s": np.array(0.02, np.float32),
    "z": np.array(113, np.uint8),
    "t": np.array(0.05, np.float32),
    "u": np.array(7, np.uint8),
    "ws": SCALES,
    "wz": np.array([0, 3, -2, 1], np.int8),
    "one": np.array(0.03, np.float32),
    "none": np.array(0, np.int8),
    "bs": np.float32(0.02) * SCALES,
}
X = "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)"
K = "k = DequantizeLinear <axis = 0> (w, ws, wz)"
L = "l = DequantizeLinear <axis = 0> (b, bs)"
END = "e = QuantizeLinear (c, t, u) y = DequantizeLinear (e, t, u)"


def integers(*shape: int, dtype: str = "int8") -> np.ndarray:
    return np.random.default_rng(1).integers(-100, 100, shape).astype(dtype)


def exact(text: str, opset: int = 20, **constants: np.ndarray) -> ir.Model:
    """The normal form of `text`, after checking that ONNX Runtime computes the same bits with it."""
    source = model(text, opset, **{k: v for k, v in (PARAMETERS | constants).items() if f"{k}" in text})
    normal = load(source)
    feeds = random_inputs(normal)
    for actual, expected in zip(ort_run(normal, feeds), ort_run(source, feeds), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert_own(normal)
    return normal


def assert_own(normal: ir.Model) -> None:
    """Nobody shares a DequantizeLinear, and nothing is quantized as it was before."""
    for node in normal.graph:
        if node.op_type == "DequantizeLinear":
            value = node.outputs[0]
            assert len(value.uses()) + value.is_graph_output() == 1
        if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
            assert scale.const_value is None or scale.const_value.size > 1 or scale.shape == ()
            assert zero is None or zero.shape == scale.shape


def weights(normal: ir.Model, layer: str) -> list[ir.Node]:
    """The nodes that dequantize constants for the only layer of its kind."""
    (node,) = (node for node in normal.graph if node.op_type == layer)
    makers = [value.producer() for value in node.inputs]
    return [maker for maker in makers if maker and maker.inputs[0].const_value is not None]


def test_a_convolution_keeps_weights_and_bias_as_they_are_stored():
    w, b = integers(4, 3, 3, 3), integers(4, dtype="int32")
    body = f"{X} {K} {L} c = Conv (d, k, l) {END}"

    normal = exact(f"g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) {{ {body} }}", w=w, b=b)

    assert sorted(ops(normal)) == sorted(
        ["QuantizeLinear", *["DequantizeLinear"] * 3, "Conv", "QuantizeLinear", "DequantizeLinear"]
    )
    weight, bias = weights(normal, "Conv")
    np.testing.assert_array_equal(weight.inputs[0].const_value.numpy(), w)
    np.testing.assert_array_equal(weight.inputs[1].const_value.numpy(), SCALES)
    np.testing.assert_array_equal(weight.inputs[2].const_value.numpy(), PARAMETERS["wz"])
    np.testing.assert_array_equal(bias.inputs[0].const_value.numpy(), b)
    assert weight.attributes.get_int("axis") == bias.attributes.get_int("axis") == 0


def test_scales_of_channels_follow_the_transpose_of_their_weight():
    """The axis of Gemm's transposed weight is 0, and 1 behind the transpose."""
    w, b = integers(4, 6), integers(4, dtype="int32")
    body = f"{X} {K} {L} c = Gemm <transB = 1> (d, k, l) {END}"

    normal = exact(f"g (float[2, 6] x) => (float[2, 4] y) {{ {body} }}", w=w, b=b)

    (weight,) = weights(normal, "MatMul")
    np.testing.assert_array_equal(weight.inputs[0].const_value.numpy(), w.T)
    assert weight.attributes.get_int("axis") == 1
    (bias,) = weights(normal, "Add")
    np.testing.assert_array_equal(bias.inputs[0].const_value.numpy(), b)


MOVED = {
    "transposed": ((4, 6), "t2 = Transpose (k) c = MatMul (d, t2)", 0, 1),
    "reshaped": ((1, 6, 4), "t2 = Reshape (k, shape) c = MatMul (d, t2)", 2, 1),
    "with an axis of one": ((1, 6, 4), "t2 = Squeeze (k, nought) c = MatMul (d, t2)", 2, 1),
    "from the default axis": ((6, 4), "c = MatMul (d, k)", None, 1),
    "from the end": ((6, 4), "c = MatMul (d, k)", -1, -1),
}


@pytest.mark.parametrize(("shape", "body", "axis", "behind"), MOVED.values(), ids=MOVED)
def test_scales_of_channels_follow_their_axis(shape, body, axis, behind):
    said = "" if axis is None else f"<axis = {axis}>"
    steps = f"{X} k = DequantizeLinear {said} (w, ws, wz) {body} {END}"
    constants = {"shape": np.array([6, 4]), "nought": np.array([0])}

    normal = exact(f"g (float[2, 6] x) => (float[2, 4] y) {{ {steps} }}", w=integers(*shape), **constants)

    (weight,) = weights(normal, "MatMul")
    assert weight.inputs[0].const_value.shape == (6, 4)
    assert weight.attributes.get_int("axis") == behind


def test_weights_whose_channels_are_lost_in_a_reshape_become_floats():
    body = f"{X} {K} t2 = Reshape (k, shape) c = MatMul (d, t2) {END}"
    normal = exact(f"g (float[2, 8] x) => (float[2, 3] y) {{ {body} }}", w=integers(4, 6), shape=np.array([8, 3]))

    assert not weights(normal, "MatMul")
    assert any(
        value.shape == (8, 3) and value.dtype == ir.DataType.FLOAT for value in normal.graph.initializers.values()
    )


FLOATS = {
    "data that are floats": "k = DequantizeLinear (w, one, none) y = MatMul (x, k)",
    "data behind an activation": f"{X} r = Relu (d) k = DequantizeLinear (w, one, none) y = MatMul (r, k)",
    "a weight without data": "k = DequantizeLinear (w, one, none) v = Relu (k) y = MatMul (x, v)",
    "scales by blocks": f"{X} k = DequantizeLinear <axis = 0, block_size = 3> (w, blocks) y = MatMul (d, k)",
}


@pytest.mark.parametrize("body", FLOATS.values(), ids=FLOATS)
def test_weights_that_no_integer_kernel_reads_become_the_floats_they_stand_for(body):
    blocks = np.array([[0.5, 1, 2, 4], [1, 2, 3, 4]], np.float32)

    normal = exact(f"g (float[2, 6] x) => (float[2, 4] y) {{ {body} }}", 21, w=integers(6, 4), blocks=blocks)

    assert not any(v.dtype == ir.DataType.INT8 and v.shape for v in normal.graph.initializers.values())


def test_a_weight_that_two_read_stays_for_the_one_and_becomes_floats_for_the_other():
    body = f"{X} k = DequantizeLinear (w, one, none) c = MatMul (d, k) v = MatMul (x, k) {END}"

    normal = exact(f"g (float[2, 6] x) => (float[2, 4] y, float[2, 4] v) {{ {body} }}", w=integers(6, 4))

    kinds = {node.inputs[1].producer() is None for node in normal.graph if node.op_type == "MatMul"}
    assert kinds == {True, False}


def test_floats_that_the_file_quantizes_are_stored_quantized():
    body = f"{X} f = QuantizeLinear (w, one, none) k = DequantizeLinear (f, one, none) c = MatMul (d, k) {END}"

    normal = exact(f"g (float[2, 6] x) => (float[2, 4] y) {{ {body} }}", w=floats(6, 4))

    (weight,) = weights(normal, "MatMul")
    expected = np.clip(np.rint(floats(6, 4) / np.float32(0.03)), -128, 127)
    np.testing.assert_array_equal(weight.inputs[0].const_value.numpy(), expected)


def test_readers_get_a_dequantizelinear_each_and_share_the_quantizelinear():
    body = f"{X} a = Relu (d) b2 = Sigmoid (d) c = Add (a, b2) {END}"

    normal = exact(f"g (float[2, 6] x) => (float[2, 6] y) {{ {body} }}")

    assert ops(normal).count("QuantizeLinear") == 2
    assert ops(normal).count("DequantizeLinear") == 3


MOVES = {
    "Reshape": ("Reshape (d, shape)", (3, 4)),
    "Transpose": ("Transpose (d)", (6, 2)),
    "Flatten, which is Reshape": ("Flatten <axis = 0> (d)", (1, 12)),
    "Unsqueeze, which is Reshape": ("Unsqueeze (d, nought)", (1, 2, 6)),
    "Slice": ("Slice (d, nought, two, two)", None),
    "Gather": ("Gather <axis = 1> (d, two)", (2, 1)),
    "Expand": ("Expand (d, grown)", (3, 2, 6)),
    "Tile": ("Tile (d, grown2)", (4, 6)),
    "Pad": ("Pad (d, pads)", (4, 6)),
    "mirroring Pad": ('Pad <mode = "reflect"> (d, pads)', (4, 6)),
    "Pad by a stored number": ("Pad (d, pads, stored)", (4, 6)),
}
SHAPES = {
    "shape": np.array([3, 4]),
    "nought": np.array([0]),
    "two": np.array([1]),
    "grown": np.array([3, 2, 6]),
    "grown2": np.array([2, 1]),
    "pads": np.array([1, 0, 1, 0]),
    "stored": np.float32(3) * np.float32(0.02),
}


@pytest.mark.parametrize(("step", "shape"), MOVES.values(), ids=MOVES)
def test_what_moves_numbers_moves_them_as_they_are_stored(step, shape):
    """Between conversions by the same numbers none is left; by others the two follow one another."""
    shape = shape or (2, 1)
    same = f"c = {step} e = QuantizeLinear (c, s, z) y = Relu (c)"
    dims = ", ".join(map(str, shape))
    normal = exact(f"g (float[2, 6] x) => (uint8[{dims}] e, float[{dims}] y) {{ {X} {same} }}", **SHAPES)

    operator = "Reshape" if step.startswith(("Flatten", "Unsqueeze")) else step.split()[0]
    assert ops(normal)[0] == "QuantizeLinear"
    assert sorted(ops(normal)[1:]) == sorted([operator, "DequantizeLinear", "Relu"])


def test_a_pad_by_a_number_that_is_not_stored_adds_it_behind_dequantizing():
    text = f"g (float[2, 6] x) => (float[4, 6] y) {{ {X} y = Pad (d, pads, odd) }}"

    normal = exact(text, odd=np.array(0.033, np.float32), pads=SHAPES["pads"])

    assert ops(normal) == ["QuantizeLinear", "DequantizeLinear", "Pad"]


def test_a_pad_by_any_number_is_one_of_stored_numbers_where_it_is_quantized():
    text = f"g (float[2, 6] x) => (uint8[4, 6] y) {{ {X} c = Pad (d, pads, odd) y = QuantizeLinear (c, s, z) }}"

    assert ops(exact(text, odd=np.array(9e9, np.float32), pads=SHAPES["pads"])) == ["QuantizeLinear", "Pad"]


def test_a_layer_is_quantized_in_front_of_what_moves_its_result():
    body = f"{X} k = DequantizeLinear (w, one, none) m = MatMul (d, k) r = Reshape (m, shape) c = Transpose (r) {END}"

    normal = exact(f"g (float[2, 6] x) => (float[4, 3] y) {{ {body} }}", w=integers(6, 6), shape=SHAPES["shape"])

    (layer,) = (node for node in normal.graph if node.op_type == "MatMul")
    assert [use.node.op_type for use in layer.outputs[0].uses()] == ["QuantizeLinear"]


def test_quantizing_by_other_numbers_stays():
    text = f"g (float[2, 6] x) => (uint8[2, 6] y) {{ {X} y = QuantizeLinear (d, t, u) }}"

    assert ops(exact(text)) == ["QuantizeLinear", "DequantizeLinear", "QuantizeLinear"]


def test_quantizing_by_the_same_numbers_vanishes():
    text = f"g (float[2, 6] x) => (uint8[2, 6] y, float[2, 6] v) {{ {X} y = QuantizeLinear (d, s, z) v = Relu (d) }}"

    assert ops(exact(text)) == ["QuantizeLinear", "DequantizeLinear", "Relu"]


def test_no_scale_goes_into_weights_that_are_stored():
    """A factor, a shift and statistics behind a layer, and a factor behind a reshape, stay operators of their own."""
    steps = "m = Conv (d, k) f = Mul (m, gain) h = Add (f, shift) n = BatchNormalization (h, p, p, p, p) c = Relu (n)"
    body = f"{X} {K} {steps} {END}"
    constants = {"gain": floats(4, 1, 1), "shift": floats(4, 1, 1), "p": np.abs(floats(4)) + 0.1}
    source = f"g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) {{ {body} }}"

    normal = load(
        model(source, w=integers(4, 3, 3, 3), **constants, **{k: v for k, v in PARAMETERS.items() if k in body})
    )

    (weight,) = weights(normal, "Conv")
    np.testing.assert_array_equal(weight.inputs[0].const_value.numpy(), integers(4, 3, 3, 3))
    np.testing.assert_array_equal(weight.inputs[1].const_value.numpy(), SCALES)


def test_a_maximum_of_stored_integers_is_one_of_the_numbers_that_they_stand_for():
    steps = "q = QuantizeLinear (x, s, z) m = MaxPool <kernel_shape = [2, 2]> (q) y = DequantizeLinear (m, s, z)"

    normal = exact(f"g (float[1, 2, 4, 4] x) => (float[1, 2, 3, 3] y) {{ {steps} }}")

    assert ops(normal) == ["QuantizeLinear", "DequantizeLinear", "MaxPool", "QuantizeLinear", "DequantizeLinear"]


def test_layouts_are_chosen_through_conversions():
    """Channels last at the ends: two transposes are left of four."""
    steps = f"""a = Transpose <perm = [0, 3, 1, 2]> (x) q = QuantizeLinear (a, s, z) d = DequantizeLinear (q, s, z)
        {K} m = Conv (d, k) n = Transpose <perm = [0, 2, 3, 1]> (m)
        e = QuantizeLinear (n, t, u) f = DequantizeLinear (e, t, u) h = Transpose <perm = [0, 3, 1, 2]> (f)
        y = AveragePool <kernel_shape = [2, 2]> (h)"""

    normal = exact(f"g (float[1, 4, 4, 3] x) => (float[1, 4, 3, 3] y) {{ {steps} }}", w=integers(4, 3, 1, 1))

    assert ops(normal).count("Transpose") == 1


def test_the_normal_form_of_a_normal_form_is_the_same():
    w, b = integers(4, 6), integers(4, dtype="int32")
    body = f"{X} {K} {L} c = Gemm <transB = 1> (d, k, l) {END}"
    first = exact(f"g (float[2, 6] x) => (float[2, 4] y) {{ {body} }}", w=w, b=b)

    second = load(first)

    assert ops(second) == ops(first)
    assert set(second.graph.initializers) == set(first.graph.initializers)


BAD = {
    "a scale of zero": (
        "QuantizeLinear (x, s, z)",
        {"s": np.float32(0)},
        "scale is 0.0, expected a finite number above 0",
    ),
    "a scale below zero": ("QuantizeLinear (x, s, z)", {"s": np.float32(-1)}, "scale is -1.0"),
    "a scale that is no number": ("QuantizeLinear (x, s, z)", {"s": np.float32(np.nan)}, "scale is nan"),
    "an infinite scale": ("QuantizeLinear (x, s, z)", {"s": np.float32(np.inf)}, "scale is inf"),
    "one scale of many": ("DequantizeLinear (w, ws)", {"ws": np.float32([1, 1, 0, 1])}, "scale 2 of 4 is 0.0"),
    "too few scales": ("QuantizeLinear (x, three)", {"three": np.ones(3, np.float32)}, "scales have the shape [3]"),
    "scales without an axis": ("QuantizeLinear <axis = 2> (x, ws)", {}, "one for each index of axis 2 of [2, 4]"),
    "zero points of another count": (
        "DequantizeLinear (w, ws, none)",
        {},
        "scales have the shape [4] and zero points []",
    ),
    "a zero point of another type": ("DequantizeLinear (w, one, z)", {}, "is UINT8, expected INT8"),
    "a zero point of sums": (
        "DequantizeLinear (b, one, five)",
        {"five": np.int32(5)},
        "the zero point of int32 is 5, expected 0",
    ),
    "blocks that do not fit": (
        "DequantizeLinear <axis = 0, block_size = 3> (w, blocks)",
        {"blocks": np.ones((3, 4), np.float32)},
        "scales have the shape [3, 4], expected [2, 4] for blocks of 3 along axis 0 of [6, 4]",
    ),
    "blocks of other dimensions": (
        "DequantizeLinear <axis = 0, block_size = 3> (w, ws)",
        {},
        "scales have the shape [4], expected [2, 4]",
    ),
    "blocks without an axis": ("DequantizeLinear <axis = 5, block_size = 3> (w, ws)", {}, "axis is 5"),
}


@pytest.mark.parametrize(("step", "constants", "message"), BAD.values(), ids=BAD)
def test_parameters_that_mean_nothing_are_one_clear_line(step, constants, message):
    stored = {"w": integers(6, 4), "b": integers(6, 4, dtype="int32")}
    known = {name: array for name, array in (PARAMETERS | stored | constants).items() if name in step}
    text = f"g (float[2, 4] x) => (y, z9) {{ y = {step} z9 = Relu (x) }}"

    with pytest.raises(FrontendError) as caught:
        load(model(text, 21, **known))

    assert message in str(caught.value)
    assert str(caught.value).startswith(step.split()[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("op", ["MeanVarianceNormalization", "Softplus", "HardSwish"])
def test_functions_of_operators_read_what_is_dequantized(op):
    """Some are expanded into nodes without any operand, such as constants, in front of others that move integers."""
    source = model(
        f"g (uint8[1, 3, 4, 5] x) => (float[1, 3, 4, 5] y) {{ d = DequantizeLinear (x, s, z) y = {op} (d) }}",
        opset=14,
        s=PARAMETERS["s"],
        z=PARAMETERS["z"],
    )
    normal = load(source)
    feeds = random_inputs(normal)

    np.testing.assert_allclose(ort_run(normal, feeds)[0], ort_run(source, feeds)[0], rtol=1e-5, atol=1e-6)
