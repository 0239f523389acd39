"""Our own clean-up: what it removes, what it must leave, and that names and arithmetic stay the file's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load
from tests.frontend.graphs import floats, model, normal_of, ops
from tests.models import ort_run

INT64_MAX = np.iinfo(np.int64).max


@pytest.mark.parametrize(
    ("step", "constants"),
    [
        ("Cast <to = 1> (x)", {}),
        ("CastLike (x, like)", {"like": floats(1)}),
        ("Concat <axis = 1> (x)", {}),
        ("Dropout (x)", {}),
        ("Expand (x, shape)", {"shape": np.array([2, 1, 4])}),
        ("Identity (x)", {}),
        ("Max (x)", {}),
        ("Mean (x)", {}),
        ("Pad (x, pads)", {"pads": np.zeros(6, np.int64)}),
        ("Slice (x, none, all, axes)", {"none": np.array([0]), "all": np.array([INT64_MAX]), "axes": np.array([2])}),
        ("Sum (x)", {}),
        ("Tile (x, ones)", {"ones": np.ones(3, np.int64)}),
        ("Transpose <perm = [0, 1, 2]> (x)", {}),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_what_gives_back_its_input_goes(step, constants):
    text = f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ h = {step} y = Neg (h) }}"

    assert ops(normal_of(text, **constants)) == ["Neg"]


@pytest.mark.parametrize(
    ("step", "constants"),
    [
        ("Pad (x, pads)", {"pads": np.array([1, 0, -1, 0])}),
        ("Slice (x, last, first, axes, steps)", {"steps": np.array([-1])}),
        ("Cast <to = 7> (x)", {}),
        ("Concat <axis = 0> (x, none)", {"none": np.zeros((0, 3), np.float32)}),
    ],
    ids=["pad that moves", "slice that turns round", "cast to integers", "concat"],
)
def test_what_looks_idle_but_is_not_stays_right(step, constants):
    constants |= {"last": np.array([-1]), "first": np.array([-9]), "axes": np.array([1])}
    text = f"g (float[3, 3] x) => (y) {{ h = {step} y = Add (h, h) }}"
    used = {name: array for name, array in constants.items() if name in step}

    source = model(text, **used)

    x = floats(3, 3) * 5
    np.testing.assert_array_equal(ort_run(load(source), {"x": x})[0], ort_run(source, {"x": x})[0])


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
def test_padding_that_repeats_the_tensor_reads_no_value(mode):
    text = f'g (float[3, 3] x, float[1] v) => (y) {{ h = Squeeze (v) y = Pad <mode = "{mode}"> (x, pads, h) }}'

    assert ops(normal_of(text, pads=np.array([1, 0, 0, 2]))) == ["Pad"]


def test_a_constant_is_cast_as_another_value_is_before_anything_runs():
    text = "g (uint32[3] z) => (uint32[3] y) { c = CastLike (k, z) y = Max (z, c) }"

    assert ops(normal_of(text, k=np.array(-3, np.int32))) == ["Max"]


def test_shape_arithmetic_is_folded():
    text = """g (float[2, 3, 4] x) => (float[2, 12] y) {
        s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, zeros) r = Concat <axis = 0> (u, rest)
        f = Reshape (x, r) c = Size (f) d = Shape <start = 1> (f) e = Mul (c, d) k = Cast <to = 1> (e) y = Mul (f, k)
    }"""
    constants = {"zero": np.array(0), "zeros": np.array([0]), "rest": np.array([-1])}

    assert ops(normal_of(text, **constants)) == ["Reshape", "Mul"]


BRANCH = "then_branch = t () => (float[3] a) {{ {then} }}, else_branch = e () => (float[3] b) {{ {other} }}"


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(
    ("then", "other", "left"),
    [
        ("a = Neg (x)", "b = Abs (x)", None),
        ("a = Identity (x)", "b = Identity (x)", ["Relu"]),
        ("a = Identity (w)", "b = Identity (w)", []),
        ("h = Neg (x) a = Identity (h)", "h = Abs (x) b = Identity (h)", None),
    ],
    ids=["computing", "copying an input", "copying a constant", "same names"],
)
def test_a_constant_branch_is_taken(taken, then, other, left):
    branches = BRANCH.format(then=then, other=other)
    text = f"g (float[3] x) => (float[3] y) {{ h = If (c) <{branches}> y = Relu (h) }}"

    normal = normal_of(text, c=np.array(taken), w=floats(3))

    expected = [("Neg" if taken else "Abs"), "Relu"] if left is None else left or ["Identity"]
    assert ops(normal) == expected


def test_branches_inside_branches_are_taken():
    both = "then_branch = t2 () => (float[3] p) { p = Neg (x) }, else_branch = e2 () => (float[3] q) { q = Abs (x) }"
    inner = f"If (c) <{both}>"
    branches = BRANCH.format(then=f"a = {inner}", other="b = Identity (x)")

    normal = normal_of(f"g (float[3] x) => (float[3] y) {{ y = If (c) <{branches}> }}", c=np.array(True))

    assert ops(normal) == ["Neg"]


def test_a_branch_that_a_shape_decides_is_taken():
    branches = BRANCH.format(then="a = Neg (x)", other="b = Abs (x)")
    text = f"g (float[3] x) => (float[3] y) {{ s = Size (x) c = Equal (s, three) y = If (c) <{branches}> }}"

    assert ops(normal_of(text, three=np.array(3))) == ["Neg"]


def test_the_same_computed_twice_is_computed_once():
    text = "g (float[3] x) => (float[3] y) { a = Sin (x) b = Sin (x) c = Mul (a, b) d = Mul (b, a) y = Sub (c, d) }"

    assert ops(normal_of(text)).count("Sin") == 1


def test_what_differs_in_an_attribute_or_is_random_is_computed_twice():
    text = """g (float[3] x) => (float[3] y) {
        a = Elu <alpha = 0.5> (x) b = Elu <alpha = 0.25> (x) c = RandomNormalLike (x) d = RandomNormalLike (x)
        e = Sub (c, d) f = Mul (e, zero) h = Add (a, b) y = Add (h, f)
    }"""

    kept = ops(load(model(text, zero=np.zeros(1, np.float32))))

    assert kept.count("Elu") == 2
    assert kept.count("RandomNormalLike") == 2


def test_constants_keep_every_bit():
    """NaN, infinities, zeros below zero and subnormal numbers go through folding as they are."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 3.4e38], np.float32)
    text = "g (float[8] x) => (float[8] y) { a = Reshape (w, s) b = Transpose (a) c = Reshape (b, f) y = Max (x, c) }"

    normal = load(model(text, w=special, s=np.array([2, 4]), f=np.array([8])))

    (array,) = [value.const_value.numpy() for value in normal.graph.initializers.values()]
    assert array.tobytes() == special.reshape(2, 4).T.tobytes()


HUGE = {
    "ConstantOfShape (shape)": "'huge' is FLOAT[100000, 100000]: 40000000000 bytes, expected at most 536870912",
    "Expand (one, shape)": "40000000000 bytes",
    "Expand (x, shape)": "40000000000 bytes, expected at most 17179869184",
    "Tile (row, shape)": "expected at most 536870912",
    "OneHot (index, depth, pair)": "80000000000 bytes",
    "Pad (row, pads)": "expected at most 536870912",
    "MatMul (column, row)": "expected at most 17179869184",
    "Range (zero, depth, step)": "counts from 0 to 10000000000 by 1, expected at most 16777216 numbers",
    "Range (zero, depth, zero)": "counts from 0 to 10000000000 by 0",
}


@pytest.mark.parametrize(("step", "message"), HUGE.items())
def test_a_small_file_does_not_fill_the_memory(step, message):
    constants = {
        "shape": np.array([100000, 100000]),
        "one": np.ones(1, np.float32),
        "row": np.ones((1, 100000), np.float32),
        "column": np.ones((100000, 1), np.float32),
        "pads": np.array([0, 0, 0, 1 << 30]),
        "index": np.array([1, 2]),
        "depth": np.array(10**10),
        "pair": np.float32([0, 1]),
        "zero": np.array(0),
        "step": np.array(1),
    }
    text = f"g (float[1] x) => (y) {{ huge = {step} m = ReduceMax <keepdims = 0> (huge) y = CastLike (m, x) }}"

    with pytest.raises(FrontendError) as caught:
        load(model(text, **{name: array for name, array in constants.items() if name in step}))

    assert str(caught.value).startswith(f"{step.split()[0]} 'huge' (")
    assert message in str(caught.value)


NAMES = {
    "an output is another": "{ y = Neg (x) z = Identity (y) }",
    "an output that does nothing to another": "{ y = Neg (x) z = Mul (y, one) }",
    "an output is an input": "{ y = Neg (x) z = Identity (x) }",
    "an output is a constant": "{ y = Neg (x) z = Identity (one) }",
    "outputs are one input": "{ y = Identity (x) z = Cast <to = 1> (x) }",
    "two outputs are the same": "{ y = Neg (x) z = Neg (x) }",
    "an output goes through reshapes of another": "{ y = Neg (x) r = Reshape (y, flat) z = Reshape (r, back) }",
    "an output goes through transposes of another": "{ y = Neg (x) t = Transpose (y) z = Transpose (t) }",
    "an output is read on": "{ y = Mul (x, one) h = Relu (y) z = Add (h, one) }",
    "outputs in another order than nodes": "{ z = Neg (x) h = Abs (z) y = Mul (h, one) }",
}


@pytest.mark.parametrize("body", NAMES.values(), ids=NAMES.keys())
def test_outputs_keep_their_names_and_their_order(body):
    text = f"g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {body}"

    normal_of(text, one=np.ones((2, 3), np.float32), flat=np.array([6]), back=np.array([2, 3]))


@pytest.mark.parametrize("name", ["y_identity", "node_Mul_0", "w_folded", "y_constant", "w_bias", "y_copy", "val_0"])
def test_outputs_that_are_named_like_values_of_ours_keep_their_names(name):
    text = f"""g (float[1, 2, 4, 4] x) => (float[1, 3, 4, 4] y, float[1, 3, 4, 4] "{name}", float[3] k) {{
        c = Conv (x, w) y = Mul (c, s) "{name}" = Add (y, s) k = Identity (v)
    }}"""

    normal_of(text, w=floats(3, 2, 1, 1), s=floats(3, 1, 1), v=floats(3))


def test_inputs_and_constants_may_be_outputs_under_their_own_names():
    text = "g (float[3] x) => (float[3] x, float[3] y, float[3] k) { y = Neg (x) }"
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> {text}')
    proto.graph.initializer.append(onnx.numpy_helper.from_array(floats(3), "k"))

    normal = load(proto)

    assert [value.name for value in normal.graph.outputs] == ["x", "y", "k"]
    x = floats(3, seed=1)
    for actual, expected in zip(ort_run(normal, {"x": x}), (x, -x, floats(3)), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_constants_are_cast_as_kernels_cast_them():
    """ONNX Runtime makes of what a type does not hold whatever its processor does."""
    text = """g (int8[5] x, uint32[5] z) => (int8[5] y, uint32[5] w, float[2] v) {
        c = Cast <to = 3> (k) y = Add (x, c) d = CastLike (k, z) w = Max (z, d)
        e = Cast <to = 22> (h) v = Cast <to = 1> (e) }"""
    constants = {"k": np.float32([-1.5, np.nan, 300, 1e30, -1e30]), "h": np.float32([-1, 3])}  # 22 is int4
    normal = load(model(text, opset=21, **constants))

    found = [value.const_value.numpy().tolist() for value in normal.graph.initializers.values()]

    assert [-1, 0, 127, 127, -128] in found
    assert [0, 0, 300, 2**32 - 1, 0] in found


def test_what_cannot_be_computed_keeps_nothing_else_from_being_folded():
    """ONNX Runtime has no ThresholdedRelu of float64."""
    text = "g (float[3] x) => (float[3] y, double[3] z) { a = Exp (k) y = Add (x, a) z = ThresholdedRelu (d) }"

    assert ops(load(model(text, k=floats(3), d=np.float64([1, 2, 3])))) == ["Add", "ThresholdedRelu"]
