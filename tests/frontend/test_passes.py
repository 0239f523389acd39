"""Each pass: fires where it should, declines elsewhere, and never changes what the model computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import expand_functions, load, read, unsupported
from tests.frontend.graphs import floats, model, normal_of, ops
from tests.models import assert_close, ort_run


def statistics(channels):
    return {
        "gamma": 1 + floats(channels, seed=1) / 4,
        "beta": floats(channels, seed=2),
        "mean": floats(channels, seed=3),
        "var": 1 + floats(channels, seed=4) ** 2,
    }


BATCHNORM = "BatchNormalization (h, gamma, beta, mean, var)"


@pytest.mark.parametrize("bias", [True, False])
def test_batchnorm_folds_into_conv(bias):
    inputs = "x, w, b" if bias else "x, w"
    text = f"""g (float[1, 3, 8, 8] x) => (float[1, 6, 8, 8] y) {{
        h = Conv <pads = [1, 1, 1, 1]> ({inputs})
        y = {BATCHNORM}
    }}"""

    normal = normal_of(text, w=floats(6, 3, 3, 3), **({"b": floats(6)} if bias else {}), **statistics(6))

    assert ops(normal) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_batchnorm_folds_into_conv_transpose(group):
    text = f"""g (float[1, 4, 5, 5] x) => (float[1, 6, 7, 7] y) {{
        h = ConvTranspose <group = {group}> (x, w)
        y = {BATCHNORM}
    }}"""

    normal = normal_of(text, w=floats(4, 6 // group, 3, 3), **statistics(6))

    assert ops(normal) == ["ConvTranspose"]


def test_batchnorm_folds_into_gemm():
    text = f"g (float[2, 5] x) => (float[2, 7] y) {{ h = Gemm <transB = 1> (x, w, b) y = {BATCHNORM} }}"

    assert ops(normal_of(text, w=floats(7, 5), b=floats(7), **statistics(7))) == ["MatMul", "Add"]


def test_batchnorm_before_an_unpadded_conv_folds_forward():
    text = "g (float[1, 4, 8, 8] h) => (float[1, 6, 6, 6] y) { n = " + BATCHNORM + " y = Conv <group = 2> (n, w) }"

    assert ops(normal_of(text, w=floats(6, 2, 3, 3), **statistics(4))) == ["Conv"]


def test_batchnorm_before_a_padded_conv_becomes_mul_and_add():
    text = (
        "g (float[1, 4, 8, 8] h) => (float[1, 6, 8, 8] y) { n = "
        + BATCHNORM
        + " y = Conv <pads = [1, 1, 1, 1]> (n, w) }"
    )

    assert ops(normal_of(text, w=floats(6, 4, 3, 3), **statistics(4))) == ["Mul", "Add", "Conv"]


def test_batchnorm_of_a_value_that_others_read_stays_beside_the_conv():
    text = (
        f"g (float[1, 3, 4, 4] x) => (float[1, 6, 4, 4] y, float[1, 6, 4, 4] h) {{ h = Conv (x, w) y = {BATCHNORM} }}"
    )

    assert ops(normal_of(text, w=floats(6, 3, 1, 1), **statistics(6))) == ["Conv", "Mul", "Add"]


def test_chains_of_constants_that_go_into_no_weights_stay():
    text = """g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) {
        a = Sub (x, s) b = Div (a, d) c = Mul (m, b) y = Add (c, s)
    }"""
    column = (1, 3, 1, 1)

    normal = normal_of(text, s=floats(*column), d=2 + floats(*column, seed=1) ** 2, m=floats(*column, seed=2))

    assert ops(normal) == ["Sub", "Div", "Mul", "Add"]


@pytest.mark.parametrize("layer", ["Conv (x, w)", "Identity (x)"])
def test_numbers_that_round_are_not_folded(layer):
    """x + 1.5 * 2^23 has no fraction left."""
    text = f"g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) {{ h = {layer} a = Add (h, c) y = Sub (a, c) }}"
    weights = {"w": floats(3, 3, 1, 1)} if "w" in layer else {}

    normal = normal_of(text, c=np.array(12582912.0, np.float32), **weights)

    assert ops(normal)[-2:] == ["Add", "Sub"]


@pytest.mark.parametrize(("one", "fuses"), [(1.0, True), (1.0005, False)])
def test_constants_of_a_gelu_are_its_own(one, fuses):
    text = """g (float[3, 4] x) => (float[3, 4] y) {
        a = Div (x, root) e = Erf (a) b = Add (e, one) c = Mul (x, b) y = Mul (c, half)
    }"""
    numbers = {"root": np.sqrt(2), "one": one, "half": 0.5}

    normal = normal_of(text, **{name: np.array(number, np.float32) for name, number in numbers.items()})

    assert ("Gelu" in ops(normal)) == fuses


def test_a_bound_that_is_no_number_makes_no_clip():
    text = "g (float[3] x) => (float[3] y) { a = Max (x, low) y = Min (a, high) }"

    assert "Clip" not in ops(normal_of(text, low=np.array(np.nan, np.float32), high=np.array(1, np.float32)))


def test_division_by_zero_is_left_alone():
    normal = load(
        model(
            "g (float[3] x) => (float[3] y) { a = Div (x, d) y = Mul (a, m) }", d=np.zeros(3, np.float32), m=floats(3)
        )
    )

    assert ops(normal) == ["Div", "Mul"]


@pytest.mark.parametrize(
    ("attributes", "a", "b"),
    [("", (2, 5), (5, 7)), ("<transB = 1>", (2, 5), (7, 5)), ("<alpha = 0.5, beta = 2.0>", (2, 5), (5, 7))],
)
def test_gemm_becomes_matmul_and_add(attributes, a, b):
    text = f"g (float[{a[0]}, {a[1]}] x) => (float[2, 7] y) {{ y = Gemm {attributes} (x, w, c) }}"

    normal = normal_of(text, w=floats(*b), c=floats(7))

    assert ops(normal) == ["MatMul", "Add"]
    assert tuple(normal.graph[0].inputs[1].shape) == (5, 7)


def test_gemm_of_activations_keeps_its_factors():
    text = """g (float[5, 2] x, float[7, 5] w, float[7] c) => (float[2, 7] y) {
        y = Gemm <alpha = 0.5, beta = 3.0, transA = 1, transB = 1> (x, w, c)
    }"""

    assert sorted(ops(normal_of(text))) == ["Add", "MatMul", "Mul", "Mul", "Transpose", "Transpose"]


def test_sum_becomes_additions():
    text = "g (float[4] a, float[4] b, float[4] c) => (float[4] y) { y = Sum (a, b, c) }"

    assert ops(normal_of(text)) == ["Add", "Add"]


@pytest.mark.parametrize(
    "step",
    ["Flatten (x)", "Squeeze (x)", "Transpose <perm = [1, 0, 2, 3]> (x)", "Reshape (x, shape)"],
    ids=["flatten", "squeeze", "transpose", "reshape"],
)
def test_what_keeps_the_order_of_elements_becomes_reshape(step):
    text = f"g (float[1, 6, 1, 4] x) => (float[?] y) {{ h = {step} r = Relu (h) y = Reshape (r, flat) }}"
    text = text.replace("float[?]", "float[24]")

    normal = normal_of(text, shape=np.array([2, 12]), flat=np.array([-1]))

    assert ops(normal) in (["Reshape", "Relu", "Reshape"], ["Relu", "Reshape"])


def test_a_transpose_that_moves_elements_stays():
    text = "g (float[1, 6, 5, 4] x) => (float[1, 5, 4, 6] y) { y = Transpose <perm = [0, 2, 3, 1]> (x) }"

    assert ops(normal_of(text)) == ["Transpose"]


def test_transposes_around_channels_last_layers_cancel():
    text = """g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
        c1 = Conv (x, w1)
        n1 = Transpose <perm = [0, 2, 3, 1]> (c1)
        b1 = Add (n1, bias)
        r1 = Relu (b1)
        n2 = Transpose <perm = [0, 3, 1, 2]> (r1)
        y = Conv (n2, w2)
    }"""

    normal = normal_of(text, w1=floats(5, 3, 1, 1), w2=floats(4, 5, 1, 1), bias=floats(5))

    assert ops(normal) == ["Conv", "Relu", "Conv"]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(9, 2), (8, 2), (9, 1), (10, 3)])
def test_auto_pad_of_conv_becomes_pads(auto_pad, size, stride):
    text = f"""g (float[1, 2, {size}, {size}] x) => (float[1, 3, ?, ?] y) {{
        y = Conv <auto_pad = "{auto_pad}", strides = [{stride}, {stride}]> (x, w)
    }}"""

    normal = normal_of(text, w=floats(3, 2, 3, 3))

    attributes = normal.graph[0].attributes
    assert attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
    assert {"kernel_shape", "strides", "dilations", "pads", "group"} <= set(attributes)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_auto_pad_of_pooling_becomes_pads(op, auto_pad):
    text = f"""g (float[1, 2, 9, 9] x) => (float[1, 2, ?, ?] y) {{
        y = {op} <auto_pad = "{auto_pad}", kernel_shape = [2, 2], strides = [2, 2]> (x)
    }}"""

    assert sum(normal_of(text).graph[0].attributes.get_ints("pads")) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        'auto_pad = "SAME_UPPER"',
        'auto_pad = "SAME_LOWER"',
        "output_shape = [12, 12]",
    ],
)
def test_output_shape_of_conv_transpose_becomes_pads(attributes):
    text = f"""g (float[1, 2, 6, 6] x) => (float[1, 3, ?, ?] y) {{
        y = ConvTranspose <strides = [2, 2], {attributes}> (x, w)
    }}"""

    normal = normal_of(text, w=floats(2, 3, 3, 3))

    assert "output_shape" not in normal.graph[0].attributes
    assert tuple(normal.graph.outputs[0].shape)[2:] == (12, 12)


SQRT2 = np.array(np.sqrt(2), np.float32)
ONE, HALF = np.array(1.0, np.float32), np.array(0.5, np.float32)


@pytest.mark.parametrize(
    "body",
    [
        "a = Div (x, root) e = Erf (a) p = Add (e, one) m = Mul (x, p) y = Mul (m, half)",
        "a = Div (x, root) e = Erf (a) p = Add (e, one) m = Mul (p, half) y = Mul (x, m)",
        "a = Div (x, root) e = Erf (a) p = Add (one, e) m = Mul (half, x) y = Mul (m, p)",
        "a = Mul (x, inverse) e = Erf (a) p = Add (e, one) m = Mul (x, half) y = Mul (m, p)",
        "a = Mul (x, inverse) e = Erf (a) p = Add (e, one) m = Mul (x, p) y = Mul (half, m)",
    ],
)
def test_exported_gelu_is_recognised(body):
    text = f"g (float[2, 8] x) => (float[2, 8] y) {{ {body} }}"

    assert ops(normal_of(text, root=SQRT2, inverse=1 / SQRT2, one=ONE, half=HALF)) == ["Gelu"]


def test_erf_of_something_else_is_not_gelu():
    text = """g (float[8] x) => (float[8] y) {
        a = Div (x, root) e = Erf (a) p = Add (e, one) m = Mul (x, p) y = Mul (m, half)
    }"""

    assert "Gelu" not in ops(normal_of(text, root=2 * SQRT2, one=ONE, half=HALF))


def test_tanh_gelu_is_recognised():
    text = """g (float[2, 8] x) => (float[2, 8] y) {
        c = Pow (x, three) k = Mul (factor, c) s = Add (x, k) r = Mul (s, root) t = Tanh (r)
        p = Add (t, one) h = Mul (half, x) y = Mul (h, p)
    }"""
    three, factor = np.array(3.0, np.float32), np.array(0.044715, np.float32)
    root = np.array(np.sqrt(2 / np.pi), np.float32)

    normal = normal_of(text, three=three, factor=factor, root=root, one=ONE, half=HALF)

    assert ops(normal) == ["Gelu"]
    assert normal.graph[0].attributes.get_string("approximate") == "tanh"


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) y = Mul (x, d)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Mul (c, sixth) y = Mul (x, d)",
        "c = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (x, c)",
    ],
)
def test_exported_hardswish_is_recognised(body):
    numbers = {"three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6}

    normal = normal_of(
        f"g (float[2, 8] x) => (float[2, 8] y) {{ {body} }}",
        **{name: np.array(value, np.float32) for name, value in numbers.items()},
    )

    assert ops(normal) == ["HardSwish"]


def test_exported_layer_normalization_is_recognised():
    text = """g (float[2, 5, 8] x) => (float[2, 5, 8] y) {
        m = ReduceMean (x, axes) d = Sub (x, m) q = Pow (d, two) v = ReduceMean (q, axes) e = Add (v, epsilon)
        s = Sqrt (e) n = Div (d, s) g = Mul (n, gamma) y = Add (g, beta)
    }"""
    two, epsilon = np.array(2.0, np.float32), np.array(1e-5, np.float32)

    normal = normal_of(text, axes=np.array([-1]), two=two, epsilon=epsilon, gamma=floats(8), beta=floats(8, seed=1))

    assert ops(normal) == ["LayerNormalization"]


def test_attention_scale_moves_into_the_projection():
    text = """g (float[1, 6, 8] x) => (float[1, 2, 6, 4] y) {
        p = MatMul (x, w) b = Add (p, bias) r = Reshape (b, heads)
        t = Transpose <perm = [0, 2, 1, 3]> (r) y0 = Mul (t, scale) y = Relu (y0)
    }"""

    normal = normal_of(text, w=floats(8, 8), bias=floats(8), heads=np.array([1, 6, 2, 4]), scale=HALF)

    assert ops(normal) == ["MatMul", "Add", "Reshape", "Transpose", "Relu"]


GUARDED = "s = Softmax (m) n = IsNaN (s) y = Where (n, zero, s)"


def test_guards_against_nan_stay():
    text = f"""g (float[4, 8] x, float[8, 4] z) => (float[4, 4] y) {{ m = MatMul (x, z) {GUARDED} }}"""

    assert "IsNaN" in ops(normal_of(text, zero=np.array(0.0, np.float32)))


def test_old_prelu_slopes_are_per_channel():
    source = model("g (float[1, 3, 2, 2] x) => (float[1, 3, 2, 2] y) { y = PRelu (x, slope) }", 6, slope=floats(3))

    normal = load(source)

    x = floats(1, 3, 2, 2, seed=5)
    expected = np.where(x < 0, x * floats(3).reshape(3, 1, 1), x)
    np.testing.assert_allclose(ort_run(normal, {"x": x})[0], expected, rtol=1e-6)


def test_functions_are_inlined():
    text = """<ir_version: 9, opset_import: ["" : 20, "mine" : 1]>
    g (float[4] x) => (float[4] y) { y = mine.Twice (x) }
    <opset_import: ["" : 20], domain: "mine"> Twice (a) => (b) { b = Add (a, a) }"""

    assert ops(load(onnx.parser.parse_model(text))) == ["Add"]


def test_unused_nodes_and_constants_go():
    normal = normal_of("g (float[4] x) => (float[4] y) { dead = Add (x, w) y = Relu (x) }", w=floats(4))

    assert ops(normal) == ["Relu"]
    assert not normal.graph.initializers


def test_equal_constants_are_shared():
    text = "g (float[4] x) => (float[4] y) { a = Add (x, v) b = Relu (a) c = Add (b, w) y = Relu (c) }"

    assert len(normal_of(text, v=floats(4), w=floats(4)).graph.initializers) == 1


def test_unsupported_operators_are_all_named():
    normal = load(model("g (float[4] x) => (float[4] y) { [one] a = Sin (x) [two] b = Cos (a) [three] y = Sin (b) }"))

    with pytest.raises(
        FrontendError, match=r"cannot be compiled: Cos \(no kernel\): two; Sin \(no kernel\): one, three"
    ):
        unsupported(normal, lambda node: "no kernel")


def test_supported_models_pass():
    unsupported(load(model("g (float[4] x) => (float[4] y) { y = Sin (x) }")), lambda node: None)


def test_refused_operators_are_written_out_by_definition():
    source = model("g (float[2, 4] x) => (float[2, 4] y) { y = Celu (x) }")

    normal = load(source, supports=lambda node: "no kernel" if node.op_type == "Celu" else None)

    assert "Celu" not in ops(normal)
    x = floats(2, 4)
    np.testing.assert_allclose(ort_run(normal, {"x": x})[0], ort_run(source, {"x": x})[0], rtol=1e-5)


def test_definitions_are_written_out_down_to_what_is_supported():
    source = model(
        """g (float[3, 5] x, int64[3] labels) => (float loss) {
            loss = SoftmaxCrossEntropyLoss <ignore_index = 1> (x, labels)
        }"""
    )

    normal = load(source, supports=lambda node: "no kernel" if node.op_type.endswith("Loss") else None)

    assert not any(op.endswith("Loss") for op in ops(normal))
    feeds = {"x": floats(3, 5), "labels": np.array([4, 1, 0])}
    np.testing.assert_allclose(ort_run(normal, feeds)[0], ort_run(source, feeds)[0], rtol=1e-5)


def test_an_operator_without_its_optional_input_is_written_out():
    source = model('g (float[7] x, float high) => (float[7] y) { y = Clip (x, "", high) }')

    normal = load(source, supports=lambda node: "no kernel" if node.op_type == "Clip" else None)

    assert "Clip" not in ops(normal)
    feeds = {"x": floats(7), "high": np.array(0.1, np.float32)}
    np.testing.assert_array_equal(ort_run(normal, feeds)[0], ort_run(source, feeds)[0])


def test_expansion_declines_where_nothing_is_refused():
    source = model("g (float[4] x) => (float[4] y) { y = Celu (x) }")

    assert expand_functions(source, lambda node: None) is source


@pytest.mark.parametrize(("op", "reduced"), [("AveragePool", np.mean), ("MaxPool", np.max)])
@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [5, 7], strides = [5, 7]",
        "kernel_shape = [90, 7], strides = [90, 90], ceil_mode = 1, dilations = [1, 1]",
    ],
)
def test_a_pool_over_the_whole_image_becomes_global(op, reduced, attributes):
    source = model(f"""g (float[2, 3, 5, 7] x) => (float[2, 3, 1, 1] y) {{
        y = {op} <{attributes}> (x)
    }}""")

    normal = load(source)

    x = floats(2, 3, 5, 7)
    assert ops(normal) == [f"Global{op}"]
    for judged in (normal, source):
        assert_close(ort_run(judged, {"x": x})[0], reduced(x, axis=(2, 3), keepdims=True))


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ("kernel_shape = [5, 6]", (1, 2)),
        ("kernel_shape = [5, 7], pads = [1, 0, 1, 0], count_include_pad = 1", (3, 1)),
        ("kernel_shape = [5, 7], pads = [0, 0, 2, 0], strides = [9, 9], count_include_pad = 1", (1, 1)),
        ("kernel_shape = [5, 7], dilations = [2, 2], strides = [30, 30], ceil_mode = 1", (1, 1)),
    ],
)
def test_a_pool_over_less_or_more_than_the_image_stays(attributes, shape):
    height, width = shape
    source = model(f"""g (float[2, 3, 5, 7] x) => (float[2, 3, {height}, {width}] y) {{
        y = AveragePool <{attributes}> (x)
    }}""")

    assert ops(load(source)) == ["AveragePool"]


def test_bounds_of_one_value_become_clips_of_their_own():
    """Two pairs on one value, and bounds that cross: Min wins where it comes last."""
    text = """g (float[9] x) => (float[9] y, float[9] z, float[9] w) {
        a = Max (x, low) y = Min (a, high) b = Min (half, x) z = Max (b, low) c = Max (x, high) w = Min (c, low)
    }"""
    numbers = {"low": np.float32([-0.5]), "high": np.float32(0.75), "half": np.float32([0.5])}

    assert ops(normal_of(text, **numbers)) == ["Clip", "Clip", "Clip"]


def test_an_operator_that_is_refused_once_is_written_out_once():
    source = read(model("g (float[3] x, float[3] z) => (float[3] y, float[3] w) { [a] y = Gelu (x) [b] w = Gelu (z) }"))

    expanded = expand_functions(source, lambda node: "for a test" if node.name == "a" else None)

    assert ops(expanded).count("Gelu") == 1 and len(ops(expanded)) > 2
    assert expanded.opset_imports.keys() == source.opset_imports.keys() == {""}
