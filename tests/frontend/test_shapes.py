"""Shapes: fixed from outside or by default, complete afterwards, and clear errors where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

import edgesparse
from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read, remarks
from tests.frontend.graphs import model, ops

PAIR = 'g (float["n", 4] x, float["n", 4] z) => (float["n", 4] y) { y = Add (x, z) }'


def _shapes(normal):
    return {value.name: tuple(value.shape) for value in normal.graph.inputs}


def test_dynamic_dimensions_become_one():
    assert _shapes(load(model(PAIR))) == {"x": (1, 4), "z": (1, 4)}


def test_a_named_dimension_fixed_once_is_fixed_everywhere():
    assert _shapes(load(model(PAIR), {"x": (3, 4)})) == {"x": (3, 4), "z": (3, 4)}


def test_an_unknown_dimension_becomes_one():
    assert _shapes(load(model("g (float[?, 4] x) => (float[?, 4] y) { y = Relu (x) }"))) == {"x": (1, 4)}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"w": (1, 4)}, "no input is named 'w'; the model has 'x', 'z'"),
        ({"x": (4,)}, r"input 'x' has 2 dimensions \[n, 4\]; got 1: \[4\]"),
        ({"x": (1, 5)}, r"input 'x' has static shape \[n, 4\]; got \[1, 5\]"),
        ({"x": (1, 4), "z": (2, 4)}, "dimension 'n' is 1 elsewhere; got 2"),
        ({"x": (-1, 4)}, "must not be negative"),
    ],
    ids=["name", "rank", "conflict", "named dimension", "negative"],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(FrontendError, match=message):
        load(model(PAIR), shapes)


def test_every_node_with_an_output_of_unknown_shape_is_named():
    text = """g (float[4] x, float[4] z) => (int64[1, "a"] y, int64[1, "b"] w) {
        [first] y = NonZero (x)
        [second] w = NonZero (z)
    }"""

    with pytest.raises(FrontendError, match="depend on data.*remedy: end the model before it") as caught:
        load(model(text))

    assert "NonZero 'first'" in str(caught.value) and "NonZero 'second'" in str(caught.value)


def test_shape_arithmetic_folds_away():
    text = """g (float["n", 3, 4] x) => (float["n", 12] y) {
        s = Shape (x)
        n = Gather (s, zero)
        n1 = Unsqueeze (n, axes)
        target = Concat <axis = 0> (n1, rest)
        y = Reshape (x, target)
    }"""
    source = model(text, zero=np.array(0), axes=np.array([0]), rest=np.array([-1]))

    normal = load(source, {"x": (2, 3, 4)})

    assert ops(normal) == ["Reshape"]
    assert tuple(normal.graph.outputs[0].shape) == (2, 12)


def test_a_constant_branch_is_inlined():
    text = """g (float[4] x) => (float[4] y) {
        y = If (flag) <
            then_branch = a () => (float[4] t) { t = Relu (x) },
            else_branch = b () => (float[4] e) { e = Neg (x) }
        >
    }"""

    assert ops(load(model(text, flag=np.array(True)))) == ["Relu"]


def test_an_output_that_is_a_constant_keeps_a_node():
    source = model("g (float[2, 3] x) => (int64[2] y) { y = Shape (x) }")

    assert ops(load(source)) == ["Identity"]


def test_model_is_not_changed():
    source = model(PAIR)

    load(source)

    assert source.graph.inputs[0].shape[0].value == "n"


def test_float_weights_may_be_stored_as_int8():
    text = """g (float[1, 4] x) => (float[1, 8] y) {
        w = DequantizeLinear (q, scale)
        y = MatMul (x, w)
    }"""
    source = model(text, q=np.arange(32, dtype=np.int8).reshape(4, 8), scale=np.array(0.5, np.float32))

    normal = load(source)

    assert ops(normal) == ["MatMul"]
    weight = normal.graph.initializers[normal.graph[0].inputs[1].name].const_value.numpy()
    np.testing.assert_array_equal(weight, np.arange(32).reshape(4, 8) * np.float32(0.5))


def test_random_operators_are_not_frozen():
    source = model("g (float[4] x) => (float[4] y) { r = RandomNormal <shape = [4]> () y = Add (x, r) }")

    assert "RandomNormal" in ops(load(source))


@pytest.mark.parametrize("rows", [99999999999, 1 << 63])
def test_inputs_larger_than_all_memory_are_refused_before_anything_holds_them(tmp_path, rows):
    source = model('g (float["N", 8] x) => (float["N", 8] y) { y = Neg (x) }')

    with pytest.raises(FrontendError, match=r"(input 'x'|Neg 'y'|shapes)"):
        edgesparse.compile(source, "rpi4", tmp_path / "o.esp", input_shapes={"x": (rows, 8)})


def test_an_input_with_a_default_is_told_to_become_a_constant():
    text = "g (float[2] x, float[2] w) => (float[2] y) { y = Add (x, w) }"

    assert remarks(read(model(text, w=np.ones(2, np.float32)))) == (
        "inputs with a default become constants of the artifact: w",
    )
    assert remarks(read(model(text))) == ()


def test_of_many_inputs_with_a_default_a_few_are_named():
    names = [f"w{i}" for i in range(7)]
    inputs = "".join(f", float[2] {name}" for name in names)
    text = f"g (float[2] x{inputs}) => (float[2] y) {{ y = Sum (x, {', '.join(names)}) }}"

    (line,) = remarks(read(model(text, **dict.fromkeys(names, np.ones(2, np.float32)))))

    assert line.endswith("constants of the artifact: w0, w1, w2, w3 and 3 more")
