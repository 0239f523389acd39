"""Which values of a model become float16 or float32, and that nobody outside notices but by rounding."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesparse.errors import FrontendError
from edgesparse.quantize import halved, widened
from tests.models import ort_run

X = np.random.default_rng(1).standard_normal((1, 3, 9, 7)).astype(np.float32)


def model_of(kind: type = np.float32, largest: float = 1.0, outputs: tuple[str, ...] = ("y",)) -> ir.Model:
    """conv + relu, then softmax; the scale that is added in front of both is one constant."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 3, 3, 3)).astype(kind) / 5
    w[0, 0, 0, 0] = largest
    constants = [("w", w), ("b", rng.standard_normal(8).astype(kind)), ("s", np.full((1, 1, 1, 1), 0.3, kind))]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "s"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Softmax", ["r"], ["p"], "softmax", axis=1),
        helper.make_node("Add", ["p", "s"], ["y"], "last"),
    ]
    of = TensorProto.FLOAT if kind is np.float32 else TensorProto.FLOAT16
    shapes = {"y": (1, 8, 9, 7), "r": (1, 8, 9, 7)}
    given = [helper.make_tensor_value_info("x", of, X.shape)]
    results = [helper.make_tensor_value_info(name, of, shapes[name]) for name in outputs]
    graph = helper.make_graph(nodes, "m", given, results, [numpy_helper.from_array(a, n) for n, a in constants])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made, strict_mode=True))


def types(model: ir.Model) -> dict[str, str]:
    """The type of what each node computes, by its name; casts left out."""
    return {str(n.name): str(n.outputs[0].dtype) for n in model.graph if n.op_type != "Cast"}


def run(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return ort_run(proto, {"x": x})


def test_layers_and_what_follows_them_are_half():
    half = halved(model_of())

    assert types(half) == {"conv": "FLOAT16", "add": "FLOAT16", "relu": "FLOAT16", "softmax": "FLOAT", "last": "FLOAT"}


def test_outputs_keep_their_names_types_and_values():
    outputs = ("r", "y")

    got, expected = run(halved(model_of(outputs=outputs)), X), run(model_of(outputs=outputs), X)

    for actual, wanted in zip(got, expected, strict=True):
        assert actual.dtype == np.float32
        assert 0 < np.abs(actual - wanted).max() < 1e-2 * np.abs(wanted).max()


def test_the_model_itself_stays_as_it_is():
    model = model_of()
    before = ir.to_proto(model).SerializeToString()

    halved(model)

    assert ir.to_proto(model).SerializeToString() == before


def test_numbers_that_float16_does_not_hold_are_refused():
    with pytest.raises(FrontendError, match=r"w holds 70000, expected at most 65504"):
        halved(model_of(largest=7e4))


def test_the_largest_float16_is_taken():
    assert types(halved(model_of(largest=65504.0)))["conv"] == "FLOAT16"


def test_a_model_of_float16_is_computed_in_float32_between_its_ends():
    model = model_of(np.float16)

    wide = widened(model)

    assert set(types(wide).values()) == {"FLOAT"}
    (got,), (expected,) = run(wide, X.astype(np.float16)), run(model, X.astype(np.float16))
    assert got.dtype == expected.dtype == np.float16
    np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), atol=2e-3)


def test_a_model_without_float16_is_not_copied():
    model = model_of()

    assert widened(model) is model


def test_what_was_half_is_half_again_without_loss():
    model = model_of(np.float16)

    again = halved(widened(model))

    (weight,) = [v for v in again.graph.initializers.values() if tuple(v.shape or ()) == (8, 3, 3, 3)]
    np.testing.assert_array_equal(weight.const_value.numpy(), model.graph.initializers["w"].const_value.numpy())
