"""Operators that TVM lowers, alone and in groups, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from tvm import te

from edgesparse.backends.cpu import supports
from edgesparse.backends.cpu.fallback import lower_group
from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.relax.emit import emit_calls
from edgesparse.backends.cpu.relax.importer import TirCall
from edgesparse.backends.cpu.relax.schedule import schedule
from edgesparse.errors import LowerError
from edgesparse.numerics import F32, element
from edgesparse.program import MAX_STEP_ARGS
from tests.backends.cpu.executor import HOST, run_calls

GROUPS = {
    "flat": "g (float[4099] x) => (float[4099] y) { y = Relu(x) }",
    "channel_gate": """g (float[1,16,7,9] x, float[1,16,1,1] s) => (float[1,16,7,9] y)
        { a = Mul(x, s) b = Sigmoid(a) y = Mul(a, b) }""",
    "two_outputs": "g (float[3,40] x) => (float[3,40] y, float[3,40] z) { y = Tanh(x) z = Exp(y) }",
    "exp_then_sum": """g (float[5,33] x) => (float[5] y) <int64[1] axes = {1}>
        { e = Exp(x) y = ReduceSum<keepdims=0>(e, axes) }""",
    "sum_first_axis": "g (float[9,6,700] x) => (float[6,700] y) <int64[1] a = {0}> { y = ReduceSum<keepdims=0>(x, a) }",
    "sum_everything": "g (float[3,1001] x) => (float y) { y = ReduceSum<keepdims=0>(x) }",
    "max_of_minus_infinity": """g (float[3,4] x) => (float[3] y) <int64[1] a = {1}, float i = {-inf}>
        { z = Mul(x, x) w = Sub(i, z) y = ReduceMax<keepdims=0>(w, a) }""",
    "argmax": "g (float[3,17,20] x) => (int64[3,20] y) { y = ArgMax<axis=1, keepdims=0>(x) }",
    "conv3d": """g (float[1,2,5,6,7] x, float[3,2,3,3,3] w) => (float[1,3,5,6,7] y)
        { y = Conv<pads=[1,1,1,1,1,1]>(x, w) }""",
    "conv_transpose": """g (float[1,4,5,6] x, float[4,3,3,3] w) => (float[1,3,11,13] y)
        { y = ConvTranspose<strides=[2,2]>(x, w) }""",
    "pad_exp": """g (float[2,3,5] x) => (float[2,5,7] y) <int64[6] p = {0,1,1,0,1,1}> { a = Pad(x, p) y = Exp(a) }""",
    "concat_of_chains": """g (float[2,3] x, float[2,4] z) => (float[2,7] y)
        { a = Neg(x) b = Abs(z) y = Concat<axis=1>(a, b) }""",
    "gather_between": """g (float[6,8] x, int64[2,3] i) => (float[2,3,8] y)
        { a = Neg(x) b = Gather<axis=0>(a, i) y = Relu(b) }""",
    "resize_without_roi": """g (float[1,2,5,6] x) => (float[1,2,10,9] y)
        <float[0] roi = {}, float[4] scales = {1.0, 1.0, 2.0, 1.5}> { y = Resize<mode="linear">(x, roi, scales) }""",
    "max_of_padding": """g (double[1,2,5,4] x) => (double[1,2,2,1] y, int64[1,2,2,1] i)
        { y, i = MaxPool<kernel_shape=[2,2], dilations=[5,5], pads=[1,1,1,1], storage_order=1>(x) }""",
    "max_pool_of_minus_infinity": """g (float[1,2,5,4,3] x) => (float[1,2,4,3,2] y) <float i = {-inf}>
        { z = Mul(x, x) w = Sub(i, z) y = MaxPool<kernel_shape=[2,2,2]>(w) }""",
    "steps_beyond_the_axis": """g (float[2,7] x) => (float[1,1] y)
        <int64[2] s = {-1,2}, int64[2] e = {-9,9}, int64[2] a = {0,1},
         int64[2] t = {-9223372036854775808,9223372036854775807}> { y = Slice(x, s, e, a, t) }""",
    "resize_to_the_same_size": """g (float[1,2,3,33] x) => (float[1,2,3,42] y) <float[4] scales = {1.0, 1.0, 1.3, 1.3}>
        { y = Resize<mode="cubic", antialias=1>(x, , scales) }""",
    "resize_of_nothing": """g (float[1,2,7,6] x) => (float[1,2,7,6] y) <float[4] scales = {1.0, 1.0, 1.1, 1.0}>
        { y = Resize<mode="linear">(x, , scales) }""",
    "resize_symmetric": """g (float[1,2,3,5] x) => (float[1,2,1,5] y) <int64[4] sizes = {1,2,1,5}>
        { y = Resize<nearest_mode="floor", coordinate_transformation_mode="half_pixel_symmetric">(x, , , sizes) }""",
    "resize_to_the_nearest": """g (float[1,2,5,7] x) => (float[1,2,9,4] y) <int64[4] sizes = {1,2,9,4}>
        { y = Resize<nearest_mode="round_prefer_ceil", coordinate_transformation_mode="asymmetric">(x, , , sizes) }""",
    "resize_crops_one_axis": """g (float[1,2,5,7] x) => (float[1,2,6,7] y)
        <float[8] roi = {0,0,0.1,-0.2,1,1,0.8,1.2}, float[4] scales = {1.0, 1.0, 1.3, 1.0}>
        { y = Resize<mode="cubic", coordinate_transformation_mode="tf_crop_and_resize">(x, roi, scales) }""",
    "resize_crops_what_it_resizes": """g (float[1,2,5,7] x) => (float[1,2,6,7] y)
        <float[8] roi = {0,0,0.1,-0.2,1,1,0.8,1.2}, int64[4] sizes = {1,2,6,7}>
        { y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, roi, , sizes) }""",
    "resize_crops_nothing": """g (float[1,2,5,7] x) => (float[1,2,5,7] y)
        <float[8] roi = {0,0,0.1,-0.2,1,1,0.8,1.2}, float[4] scales = {1.0, 1.0, 1.0, 1.0}>
        { y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, roi, scales) }""",
    "sum_of_nothing": "g (float[2,0] x) => (float[2] y) <int64[1] a = {1}> { y = ReduceSum<keepdims=0>(x, a) }",
    "power": "g (float[3,9] x) => (float[3,9] y) <float two = {2.0}> { y = Pow(x, two) }",
    "half": "g (float16[4,50] x) => (float16[4,50] y) { a = Tanh(x) y = Mul(a, x) }",
    "double": "g (double[4,50] x) => (double[4] y) <int64[1] a = {1}> { y = ReduceMean<keepdims=0>(x, a) }",
    "integers": "g (int64[4,50] x) => (int64[4,50] y) { a = Mul(x, x) y = Sub(a, x) }",
    "booleans": """g (float[4,50] x) => (bool[4,50] y) <float half = {0.5}>
        { a = Greater(x, half) b = Not(a) c = Less(x, half) y = And(b, c) }""",
}


def parsed(text: str, opset: int = 20) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def random_feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    feeds = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        real = np.issubdtype(dtype, np.floating)
        feeds[value.name] = (rng.normal(size=shape) if real else rng.integers(0, 6, shape)).astype(dtype)
    return feeds


def lowered(model: onnx.ModelProto) -> list[Call]:
    return lower_group(list(ir.from_proto(model).graph), HOST)


def judged(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in model.graph.output], session.run(None, dict(feeds)), strict=True))


@pytest.mark.parametrize("name", GROUPS)
def test_group_matches_onnxruntime(name: str) -> None:
    model = parsed(GROUPS[name])
    feeds = random_feeds(model)

    results = run_calls(lowered(model), feeds)

    tolerance = 2e-3 if name == "half" else 2e-5
    for output, expected in judged(model, feeds).items():
        assert results[output].dtype == expected.dtype
        np.testing.assert_allclose(results[output], expected, rtol=tolerance, atol=tolerance / 10)


def test_elementwise_neighbours_become_one_kernel_without_intermediate_values() -> None:
    calls = lowered(parsed(GROUPS["channel_gate"]))

    assert len(calls) == 1
    assert [tensor.name for tensor in calls[0].writes] == ["y"]


def test_a_large_flat_operator_is_cut_into_tiles() -> None:
    (call,) = lowered(parsed("g (float[100000] x) => (float[100000] y) { y = Relu(x) }"))

    assert call.kernel.tiles == 25


def test_equal_operators_share_a_kernel() -> None:
    (first,) = lowered(parsed("g (float[3,40] x) => (float[3,40] y) { y = Erf(x) }"))
    (second,) = lowered(parsed("g (float[3,40] other) => (float[3,40] z) { z = Erf(other) }"))

    assert first.kernel.symbol == second.kernel.symbol


def test_equal_values_of_a_tie_keep_the_order_of_their_indices() -> None:
    model = parsed("g (int32[1,5] x) => (int32[1,4] v, int64[1,4] i) <int64[1] k = {4}> { v, i = TopK<axis=1>(x, k) }")

    results = run_calls(lowered(model), {"x": np.array([[3, 1, 3, 2, 3]], np.int32)})

    assert list(results["v"][0]) == [3, 3, 3, 2]
    assert list(results["i"][0]) == [0, 2, 4, 3]


def test_a_kernel_has_no_more_arguments_than_a_step_can_hand_over() -> None:
    """Ninety values, each read once and given as an output: any one kernel for all would need more."""
    names = [f"x{at}" for at in range(90)]
    declared = ", ".join(f"float[2,3] {name}" for name in names)
    lines = [f"n{name} = Neg({name})" for name in names]
    lines += [f"s{b} = Mul({'s' if at else 'n'}{a}, n{b})" for at, (a, b) in enumerate(pairwise(names))]
    model = parsed(f"g ({declared}) => (float[2,3] s{names[-1]}) {{ {' '.join(lines)} }}")
    feeds = random_feeds(model)

    calls = lowered(model)

    assert max(call.kernel.arguments for call in calls) <= MAX_STEP_ARGS
    expected = judged(model, feeds)[f"s{names[-1]}"]
    np.testing.assert_allclose(run_calls(calls, feeds)[f"s{names[-1]}"], expected, rtol=1e-4)


CANCELLED = """g (float[9] x) => (float[9] a, float[9] b, float[9] c, float[9] d, float[9] e, float[9] f, bool[9] g)
    <float zero = {0.0}, float big = {1e30}> {
    one = Add(x, big) a = Sub(one, big) two = Sub(one, x) b = Neg(two) none = Sub(x, x) c = Div(x, none)
    d = Mul(x, zero) e = Div(x, zero) f = Div(zero, x) g = Equal(none, none)
}"""


def test_floats_are_not_taken_for_real_numbers() -> None:
    """Nothing cancels: what is lost to rounding, infinities and NaN stays lost."""
    model = parsed(CANCELLED)
    feeds = {"x": np.array([0, -0.0, 1, -1, 1e-45, 3e38, np.inf, -np.inf, np.nan], np.float32)}

    with np.errstate(all="ignore"):
        results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_array_equal(results[name], expected)


def test_float64_is_computed_in_float64() -> None:
    """Reductions over long and short rows, and what is made of them."""
    text = """g (double[3,8] x, double[3,100] z) => (double[3,1] a, double[3,1] b, double[3,8] c, double[3,100] d)
        <int64[1] last = {1}>
        { a = ReduceMax(x, last) b = ReduceSum(z, last) c = Softmax(x) d = LpNormalization(z) }"""
    model = parsed(text)
    feeds = {name: 1e300 * array for name, array in random_feeds(model).items()} | {
        "z": np.random.default_rng(0).random((3, 100))
    }

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-13)


SPECIAL = """g (float[9] x, float[9] z) => (bool[9] a, bool[9] b, float[9] c, float[9] d, float[9] e, float f, float h)
    <float none = {nan}, int64[1] over = {0}, float top = {inf}, int64[1] two = {5}, int64[1] five = {7}> {
    less = Less(x, z) a = Not(less) greater = Greater(x, z) more = Not(greater) b = Or(more, less)
    c = Max(x, none) d = Sign(x) e = Acosh(x) kept = Slice(x, two, five) q = Abs(kept)
    inverse = Min(q, top) f = ReduceLogSumExp<keepdims=0>(inverse, over) low = Neg(inverse)
    h = ReduceLogSumExp<keepdims=0>(low, over)
}"""


def test_comparisons_and_functions_of_what_is_no_number_or_infinite() -> None:
    model = parsed(SPECIAL)
    special = np.array([0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 3e38, 1e-45], np.float32)
    feeds = {"x": special, "z": np.roll(special, 2)}

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-6, atol=1e-6)


ROOTS = """g (float[9] x, double[9] z) => (float[9] a, double[9] b) <float half = {0.5}, double wide = {0.5}>
    { a = Pow(x, half) b = Pow(z, wide) }"""


def test_a_power_of_a_half_is_a_root_but_of_minus_infinity() -> None:
    model = parsed(ROOTS)
    special = np.array([0, -0.0, 1, -1, 1e-45, 3e38, np.inf, -np.inf, np.nan])
    feeds = {"x": special.astype(np.float32), "z": special}

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-6)


@pytest.mark.parametrize("said", ["reverse=0", "reverse=1", "exclusive=1"])
def test_running_sums_of_half_precision_are_kept_in_single(said: str) -> None:
    model = parsed(
        f"g (float16[2,99,3] x) => (float16[2,99,3] y) <int64 axis = {{1}}> {{ y = CumSum<{said}>(x, axis) }}"
    )
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 99, 3)).astype(np.float16)}

    np.testing.assert_array_equal(run_calls(lowered(model), feeds)["y"], judged(model, feeds)["y"])


SIGNS = """g (float[4] x) => (float[4] a, float[4] b, float[4] c, float[4] d) <float none = {0}, float half = {0.5}> {
    p = Add(x, none) a = Reciprocal(p) q = Add(none, x) b = Reciprocal(q) r = Pow(x, half) c = Reciprocal(r)
    s = Elu(x) d = Reciprocal(s) }"""


def test_the_sign_of_zero_is_the_one_that_arithmetic_gives() -> None:
    model, feeds = parsed(SIGNS), {"x": np.array([0.0, -0.0, 2.0, np.inf], np.float32)}

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_functions_that_hardly_change_what_is_near_zero_keep_it(kind: str) -> None:
    """By TVM's formula the hyperbolic ones lose half of the digits of 1e-4, and all of 1e-9."""
    model = parsed(f"g ({kind}[8] x) => ({kind}[8] y, {kind}[8] z) {{ y = Tanh(x) z = Atanh(x) }}")
    x = np.array([0.0, -0.0, 1e-4, -1e-4, 1e-9, -1e-9, 1e-30, 0.3]).astype({"float": "float32"}.get(kind, kind))

    results = run_calls(lowered(model), {"x": x})

    for name, function in (("y", np.tanh), ("z", np.arctanh)):
        np.testing.assert_allclose(results[name], function(x.astype(np.float64)), rtol=4 * np.finfo(x.dtype).eps)
        np.testing.assert_array_equal(np.signbit(results[name]), np.signbit(x))


@pytest.mark.parametrize(
    ("operator", "bias"), [("ThresholdedRelu<alpha=0.7>", 0), ("Shrink<lambd=0.7, bias=0.1>", 0.1)]
)
def test_the_threshold_of_half_precision_is_a_single_one(operator: str, bias: float) -> None:
    """0.7 is no half: the next one above is beyond it, and itself rounded to a half is not."""
    model = parsed(f"g (float16[4] x) => (float16[4] y) {{ y = {operator}(x) }}")
    half = np.float16(0.7)
    x = np.array([half, np.nextafter(half, np.float16(1)), np.nextafter(half, np.float16(0)), 2], np.float16)

    results = run_calls(lowered(model), {"x": x})

    np.testing.assert_array_equal(results["y"], judged(model, {"x": x})["y"])
    np.testing.assert_array_equal(results["y"] != 0, x.astype(np.float32) > np.float32(0.7))


def test_integers_shrink_through_single_precision_and_saturate() -> None:
    model = parsed("g (int32[6] x) => (int32[6] y) { y = Shrink<lambd=3.0, bias=-0.5>(x) }")
    x = np.array([2**24 + 1, 2**31 - 300, -5, 2, 4, -(2**30)], np.int32)

    results = run_calls(lowered(model), {"x": x})

    np.testing.assert_array_equal(results["y"], judged(model, {"x": x})["y"])
    top = run_calls(lowered(model), {"x": np.full(6, 2**31 - 1, np.int32)})
    np.testing.assert_array_equal(top["y"], np.full(6, 2**31 - 1))


RESIZED = {  # shapes, the last with channels last, and scales
    "both": ((1, 2, 7, 9), (1, 1, 1.5, 2.5)),
    "smaller": ((1, 2, 7, 9), (1, 1, 0.6, 1.7)),
    "columns": ((1, 3, 8, 9), (1, 1, 1, 1.3)),
    "flat": ((7, 9), (1.7, 2.3)),
    "three": ((2, 7, 9), (1, 1.3, 1.7)),
    "deep": ((1, 1, 4, 5, 6), (1, 1, 1.5, 1.7, 2.3)),
    "last": ((1, 7, 9, 3), (1, 1.5, 2.5, 1)),
}


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners"])
def test_integers_are_interpolated_to_the_last_bit(kind: str, transform: str) -> None:
    """What is cut off just below a whole number would be one less."""
    rng, feeds, body, inputs, outputs, held = np.random.default_rng(0), {}, "", [], [], []
    for name, (shape, scales) in RESIZED.items():
        feeds[name] = rng.integers(-120 if kind != "uint8" else 0, 120, shape).astype(kind)
        inputs.append(f"{kind}{list(shape)} {name}")
        outputs.append(
            f"{kind}[{','.join('abcde'[: len(shape)])}] {name}_y".replace("[", f"[{name}_").replace(",", f",{name}_")
        )
        held.append(f"float[{len(shape)}] {name}_s = {{{', '.join(map(str, scales))}}}")
        said = f'mode="linear", coordinate_transformation_mode="{transform}"'
        body += f"{name}_y = Resize<{said}>({name}, , {name}_s)\n"
    model = parsed(f"g ({', '.join(inputs)}) => ({', '.join(outputs)}) <{', '.join(held)}> {{ {body} }}")

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_array_equal(results[name], expected, err_msg=name)


OF_BOOLEANS = {"add": np.logical_or, "max": np.logical_or, "mul": np.logical_and, "min": np.logical_and}


@pytest.mark.parametrize("reduction", OF_BOOLEANS)
def test_booleans_are_scattered(reduction: str) -> None:
    said = f'<reduction="{reduction}">'
    text = f"""g (bool[9] x, int64[7] places, int64[7,1] points, bool[7] new) => (bool[9] y, bool[9] z) {{
        y = ScatterElements{said}(x, places, new) z = ScatterND{said}(x, points, new) }}"""
    x, new = np.random.default_rng(0).random((2, 9)) < 0.5
    places = np.array([0, 3, 3, -1, 7, -2, 0])
    expected = x.copy()
    OF_BOOLEANS[reduction].at(expected, places, new[:7])

    feeds = {"x": x, "places": places, "points": places[:, None], "new": new[:7]}
    results = run_calls(lowered(parsed(text)), feeds)

    np.testing.assert_array_equal(results["y"], expected)
    np.testing.assert_array_equal(results["z"], expected)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16"])
def test_half_precision_is_quantized_around_the_largest_zero_point(kind: str) -> None:
    """The sum with a zero point is more than half precision holds."""
    text = f"g (float16[4,5] x, float16 scale, {kind} zero) => ({kind}[4,5] y) {{ y = QuantizeLinear(x, scale, zero) }}"
    model = parsed(text, opset=21)
    x = (np.random.default_rng(0).standard_normal((4, 5)) * 50).astype(np.float16)
    feeds = {"x": x, "scale": np.array(0.3, np.float16), "zero": np.array(np.iinfo(kind).max, kind)}

    np.testing.assert_array_equal(run_calls(lowered(model), feeds)["y"], judged(model, feeds)["y"])


@pytest.mark.parametrize("x", [[0, 0, 0], [3, 4, 9], [-3, -4, -9], [-1, 0.3, 2], [1e-42, 1e-42, 0]])
def test_the_scale_of_values_is_one_where_all_are_zero(x: list[float]) -> None:
    model = parsed("g (float[3] x) => (uint8[3] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }")
    feeds = {"x": np.array(x, np.float32)}

    results = run_calls(lowered(model), feeds)

    for name, expected in judged(model, feeds).items():
        np.testing.assert_array_equal(results[name], expected)


def test_what_tvm_cannot_compile_is_one_line_with_the_node_and_what_it_reads(capfd: pytest.CaptureFixture) -> None:
    text = "g (float[2,3] x) => (float y) { n = Neg(x) [bad] y = Det(n) }"

    with pytest.raises(LowerError) as caught:
        lowered(parsed(text))

    assert str(caught.value).startswith("Det 'bad' (n FLOAT[2, 3]): TVM cannot compile it: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[2,3] x) => (float y) { y = Det(x) }", "no lowering"),
        ("g (float[2,0] x, float[0,3] w) => (float[2,3] y) { y = MatMul(x, w) }", "without elements"),
        ("g (bfloat16[2] x) => (bfloat16[2] y) { y = Neg(x) }", "BFLOAT16"),
        (
            "g (float[2,3] x) => (float[2,3] y, float[2] m) <float[3] w = {1,1,1}> { y, m = LayerNormalization(x, w) }",
            "first output",
        ),
        ("g (float[9] x, int64[1] n) => (float[4] y) { y = Tile(x, n) }", "input 1 must be a constant"),
    ],
    ids=["unknown", "empty", "dtype", "outputs", "parameter"],
)
def test_what_cannot_be_lowered_is_refused_with_a_reason(text: str, reason: str) -> None:
    (node,) = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')).graph

    assert reason in (supports(node) or "")


@pytest.mark.parametrize(("size", "dtype"), [(3, "int32"), (4, "float32")])
def test_a_function_that_computes_another_type_or_size_than_the_value_has_is_refused(size: int, dtype: str) -> None:
    source = te.placeholder((3,), "float32", "source")
    doubled = te.compute((3,), lambda at: source[at] * 2.0, "doubled")
    func = te.create_prim_func([source, doubled])
    call = TirCall(func, (Tensor("x", (3,), F32),), (Tensor("y", (size,), element(dtype)),))

    with pytest.raises(LowerError, match=rf"'y' for 3 elements of float32, expected {size} of {dtype}"):
        emit_calls(schedule(func), call, "node", "Op", HOST)
