"""Transposes are merged, cancelled and moved: never more of them, and never another result."""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontend.graphs import floats, normal_of, ops

NHWC, NCHW = "Transpose <perm = [0, 2, 3, 1]>", "Transpose <perm = [0, 3, 1, 2]>"


def transposes(normal):
    return ops(normal).count("Transpose")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = {nhwc} (x) b = {nchw} (a) y = Neg (b)", 0),
        ("a = {nhwc} (x) b = {nhwc} (a) c = {nhwc} (b) y = Neg (c)", 0),
        ("a = {nhwc} (x) b = Relu (a) c = Mul (b, w) d = Sigmoid (c) y = {nchw} (d)", 0),
        ("a = {nhwc} (x) b = {nhwc} (z) c = Add (a, b) y = {nchw} (c)", 0),
        ("a = {nhwc} (x) b = Softmax <axis = 3> (a) y = {nchw} (b)", 0),
        ("a = {nhwc} (x) b = {nhwc} (z) c = Concat <axis = 1> (a, b) d = {nchw} (c) y = Neg (d)", 0),
        ("a = {nhwc} (x) b = PRelu (a, w) y = {nchw} (b)", 0),
        ("a = {nhwc} (x) b = Where (m, a, w) y = {nchw} (b)", 0),
        ("a = {nhwc} (x) b = Relu (a) y = Flatten (b)", 1),
        ("a = {nhwc} (x) b = Relu (a) c = {nchw} (b) d = {nhwc} (z) e = Add (b, d) f = {nchw} (e) y = Mul (c, f)", 0),
    ],
)
def test_transposes_that_save_nothing_go(body, left):
    """Sizes are square, so that an axis taken for another one is not seen by its size."""
    body = body.format(nhwc=NHWC, nchw=NCHW)
    text = f"g (float[3, 3, 3, 3] x, float[3, 3, 3, 3] z) => (y) {{ {body} }}"

    normal = normal_of(text, w=floats(3, 3), m=np.array([True, False, True]))

    assert transposes(normal) == left


def test_a_transpose_moves_past_a_reshape_that_joins_its_axes():
    text = """g (float[2, 13, 4, 9] x) => (float[2, 4, 9, 13] y) {
        a = Transpose <perm = [0, 2, 1, 3]> (x) b = Reshape (a, joined) c = Transpose <perm = [0, 2, 1]> (b)
        d = Reshape (c, split) y = Neg (d)
    }"""

    normal = normal_of(text, joined=np.array([8, 13, 9]), split=np.array([2, 4, 9, 13]))

    assert ops(normal) == ["Transpose", "Neg"]


def test_a_transpose_moves_past_a_reshape_that_splits_its_axes():
    text = """g (float[5, 6, 7] x) => (float[6, 7, 5] y) {
        a = Transpose <perm = [2, 0, 1]> (x) b = Reshape (a, split) c = Transpose <perm = [2, 3, 0, 1]> (b)
        d = Reshape (c, joined) e = Neg (d) y = Transpose <perm = [1, 2, 0]> (e)
    }"""

    normal = normal_of(text, split=np.array([7, 5, 2, 3]), joined=np.array([6, 7, 5]))

    assert transposes(normal) <= 2


def test_a_transpose_that_others_read_stays_for_them():
    text = """g (float[2, 3, 4] x) => (float[4, 3, 2] y, float[2, 3, 4] z) {
        a = Transpose (x) y = Relu (a) z = Transpose (y)
    }"""

    assert transposes(normal_of(text)) == 1


def random_body(rng):
    """A random graph of transposes and what lies between them, on cubes, and the values that it computes."""
    lines, values = [], ["x", "z"]
    for at in range(int(rng.integers(4, 14))):
        name, a, b = f"v{at}", *rng.choice(values, 2)
        kind = rng.integers(0, 8)
        perm = list(map(int, rng.permutation(3)))
        steps = {
            0: f"Transpose <perm = {perm}> ({a})",
            1: f"Transpose <perm = {perm}> ({a})",
            2: f"Transpose <perm = {perm}> ({a})",
            3: f"Add ({a}, {b})",
            4: f"Mul ({a}, {rng.choice(['row', 'plane', 'cube', 'one'])})",
            5: f"Softmax <axis = {rng.integers(-3, 3)}> ({a})",
            6: f"Relu ({a})",
        }
        if kind == 7:
            lines.append(f"c{at} = Concat <axis = {rng.integers(-3, 3)}> ({a}, {b})")
            lines.append(f"{name} = Slice (c{at}, none, some)")
        else:
            lines.append(f"{name} = {steps[int(kind)]}")
        values.append(name)
    return " ".join(lines), values[2:]


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_compute_the_same(seed):
    """Three values of each graph are outputs; all axes have one size."""
    rng = np.random.default_rng(seed)
    body, values = random_body(rng)
    outputs = dict.fromkeys([values[-1], *rng.choice(values, 2)])
    declared = ", ".join(outputs)
    constants = {
        "row": floats(3),
        "plane": floats(3, 3, seed=1),
        "cube": floats(3, 3, 3, seed=2),
        "one": floats(1, 1, seed=3),
        "none": np.array([0, 0, 0]),
        "some": np.array([3, 3, 3]),
    }
    text = f"g (float[3, 3, 3] x, float[3, 3, 3] z) => ({declared}) {{ {body} }}"

    normal = normal_of(text, **{name: array for name, array in constants.items() if name in body})

    assert transposes(normal) <= body.count("Transpose")
