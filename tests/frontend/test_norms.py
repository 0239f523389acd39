"""LayerNormalization that is written out is recognised where it is one, over square sizes, and computes the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.frontend.graphs import floats, normal_of, ops

PARTS = """m = ReduceMean (x, mean_axes) d = Sub (x, m) {square} v = ReduceMean (q, variance_axes) e = Add (v, epsilon)
    s = Sqrt (e) {divide}"""
POWER, PRODUCT = "q = Pow (d, two)", "q = Mul (d, d)"
QUOTIENT, RECIPROCAL = "n = Div (d, s)", "r = Reciprocal (s) n = Mul (r, d)"
CONSTANTS = {"two": np.array(2.0, np.float32), "epsilon": np.array([1e-5], np.float32)}


def norm(rest, square=POWER, divide=QUOTIENT, mean=(-1,), variance=(-1,), outputs="y", **constants):
    body = f"{PARTS.format(square=square, divide=divide)} {rest}"
    used = CONSTANTS | {"mean_axes": np.array(mean), "variance_axes": np.array(variance)} | constants
    named = {name: array for name, array in used.items() if name in body}
    return normal_of(f"g (float[4, 4, 4] x) => ({outputs}) {{ {body} }}", **named)


@pytest.mark.parametrize(("square", "divide"), itertools.product([POWER, PRODUCT], [QUOTIENT, RECIPROCAL]))
def test_every_way_to_write_it_is_recognised(square, divide):
    normal = norm("g = Mul (n, gain) y = Add (bias, g)", square, divide, gain=floats(4), bias=floats(4, seed=1))

    assert ops(normal) == ["LayerNormalization"]


@pytest.mark.parametrize("shape", [(4, 1), (4, 4), (1, 4), (4, 1, 4), (1,), ()], ids=str)
def test_a_gain_of_other_axes_stands_behind_the_norm(shape):
    for axis, outputs in itertools.product((-1, 1), ("y", "y, m, s")):
        body = f"{outputs} = LayerNormalization <axis = {axis}> (x, g, b)"
        normal = normal_of(
            f"g (float[4, 4, 4] x) => ({outputs}) {{ {body} }}", g=floats(*shape), b=floats(*shape, seed=1)
        )

        whole = shape == (4,) * -(axis if axis < 0 else axis - 3)
        if outputs == "y":
            assert ops(normal) == ["LayerNormalization", *([] if whole else ["Mul", "Add"])]


@pytest.mark.parametrize("axes", [(2,), (-2, -1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1), (4, 4), (1, 4, 4), (4, 1, 1), (1,), (1, 1, 1), ()], ids=str)
def test_the_gain_goes_in_where_it_is_of_the_normalised_axes_and_stays_behind_elsewhere(axes, shape):
    normal = norm("g = Mul (n, gain) y = Neg (g)", mean=axes, variance=axes, gain=floats(*shape))

    assert ops(normal)[0] == "LayerNormalization"
    rank = len([size for at, size in enumerate(shape) if any(s != 1 for s in shape[: at + 1])])
    assert ops(normal) == ["LayerNormalization", *(["Mul"] if rank > len(axes) else []), "Neg"]


@pytest.mark.parametrize(
    ("mean", "variance"), [((1,), (1,)), ((0, 2), (0, 2)), ((-1,), (1,)), ((-1,), (-2, -1))], ids=str
)
def test_other_axes_are_not_recognised(mean, variance):
    assert "LayerNormalization" not in ops(norm("y = Mul (n, gain)", mean=mean, variance=variance, gain=floats(4)))


@pytest.mark.parametrize("output", ["d", "s", "n", "q"])
def test_parts_that_are_outputs_are_still_computed(output):
    normal = norm("y = Mul (n, gain)", outputs=f"{output}, y", gain=floats(4))

    assert ops(normal).count("LayerNormalization") == (output == "n")


def test_a_square_of_something_else_is_not_a_variance():
    assert "LayerNormalization" not in ops(norm("y = Neg (n)", square="q = Mul (d, x)"))
    assert "LayerNormalization" not in ops(
        norm("y = Neg (n)", square="q = Pow (d, two)", two=np.array(4.0, np.float32))
    )
