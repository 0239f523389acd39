"""Inputs that are bound become constants: of the type and the shape that the model says, or they are refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import bound, load, read
from tests.frontend.graphs import model, ops

RESHAPE = 'g (float["n", 6] x, int64[2] s, float["n"] z) => (float[?, ?] y) { r = Reshape (x, s) y = Identity (r) }'
BRANCHES = """g (float[2, 3] x, int64 rate) => (float[?, ?] y) {
    c = Equal (rate, wide)
    y = If (c) <
        then_branch = a () => (float[2, 3] t) { t = Neg (x) },
        else_branch = b () => (float[6, 1] e) { e = Reshape (x, tall) }
    >
}"""
TYPES = {"float": np.float32, "int64": np.int64, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_}


def constant(kind, value, shape="2"):
    source = read(model(f"g ({kind}[{shape}] s, float[2] x) => ({kind}[{shape}] y) {{ y = Identity (s) }}"))
    return bound(source, {"s": value}).graph.initializers["s"].const_value.numpy()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int64", "3,-4", [3, -4]),
        ("int64", [3, 4], [3, 4]),
        ("int64", "16000", [16000, 16000]),
        ("int8", np.array([-128, 127]), [-128, 127]),
        ("uint8", np.uint8(7), [7, 7]),
        ("float", "0.1,1e-3", [np.float32(0.1), np.float32(1e-3)]),
        ("float", 3, [3, 3]),
        ("float", "nan,-inf", [np.nan, -np.inf]),
        ("bool", "true,False", [True, False]),
        ("bool", True, [True, True]),
    ],
)
def test_a_value_takes_the_type_and_the_shape_of_its_input(kind, value, expected):
    array = constant(kind, value)

    assert array.dtype == TYPES[kind]
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int64", "1.5"),
        ("int64", np.array([3.0, 4.0], np.float32)),
        ("int8", 128),
        ("uint8", "-1"),
        ("bool", 1),
        ("float", 16777217),
        ("float", "much"),
        ("float", ""),
        ("int64", 2**63),
        ("int64", "99999999999999999999"),
        ("float", [[1], [2, 3]]),
        ("float", {"a": 1}),
        ("float", "missing.npy"),
        ("int64", [1, 2, 3]),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind, value):
    with pytest.raises(FrontendError, match="input 's'.*"):
        constant(kind, value)


def test_a_file_is_read(tmp_path):
    np.save(tmp_path / "s.npy", np.array([5, 6]))

    np.testing.assert_array_equal(constant("int64", str(tmp_path / "s.npy")), [5, 6])


def test_a_value_of_many_elements_is_refused():
    with pytest.raises(FrontendError, match="got 65,537 elements to bind, expected at most 65,536"):
        constant("float", np.zeros(65537), shape="n")


def test_an_input_that_is_not_there_is_refused():
    with pytest.raises(FrontendError, match="no input is named 'q', to be bound; the model has 'x', 's', 'z'"):
        bound(read(model(RESHAPE)), {"q": 1})


def test_a_bound_input_decides_shapes_and_leaves_the_signature():
    source = read(model(RESHAPE))

    normal = load(bound(source, {"s": [3, 4], "z": [0.0, 0.0]}))

    assert [(value.name, tuple(value.shape)) for value in normal.graph.inputs] == [("x", (2, 6))]
    assert tuple(normal.graph.outputs[0].shape) == (3, 4)
    assert [value.name for value in source.graph.inputs] == ["x", "s", "z"]


@pytest.mark.parametrize(("rate", "chosen"), [(16000, "Neg"), (8000, "Reshape")])
def test_a_bound_input_chooses_a_branch(rate, chosen):
    source = model(BRANCHES, wide=np.array(16000), tall=np.array([6, 1]))

    assert ops(load(bound(read(source), {"rate": rate}))) == [chosen]
    with pytest.raises(FrontendError, match="if it is always the same, give --bind rate=VALUE"):
        load(source)
