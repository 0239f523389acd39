"""Every weight of the normal form knows the tensor of the file that it came from: shown by moving that tensor."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesparse.frontend import load
from edgesparse.frontend.normalise import normalise
from edgesparse.graph.provenance import KEY, Origin, origins

TEXTS = {
    "batchnorm": """batchnorm (float[1, 3, 8, 8] x) => (y) {
        a = Conv (x, W4x3x3x3) b = BatchNormalization (a, W4, V4, U4, P4) c = Relu (b)
        y = Conv (c, W5x4x1x1, W5)
    }""",
    "gemm": """gemm (float[2, 6] x) => (y) {
        a = Gemm <alpha = 2.0, transB = 1> (x, W5x6, W5) y = Gemm <beta = 0.5> (a, W5x3, W3)
    }""",
    "matrix": """matrix (float[1, 2, 6] x) => (y) {
        a = MatMul (x, W1x6x4) b = Mul (a, W4) t = Transpose <perm = [1, 0]> (W3x4) y = MatMul (b, t)
    }""",
    "lstm": """lstm (float[3, 1, 4] x) => (y) <int64[1] one = {1}> {
        h, l, c = LSTM <hidden_size = 2> (x, W1x8x4, W1x8x2, W1x16) s = Squeeze (h, one) y = MatMul (s, W2x3)
    }""",
    "gru": """gru (float[3, 1, 4] x) => (y) {
        h, y = GRU <hidden_size = 2, direction = "bidirectional"> (x, W2x6x4, W2x6x2, W2x12)
    }""",
    "sliced": """sliced (float[2, 4] x) => (y) <int64[2] parts = {3, 5}> {
        u, v = Split <axis = 1> (W4x8, parts) a = MatMul (x, u) b = MatMul (x, v) y = Concat <axis = 1> (a, b)
    }""",
    "joined": """joined (float[2, 4] x) => (y) { w = Concat <axis = 1> (W4x3, W4x5) y = MatMul (x, w) }""",
    "layout": """layout (float[1, 8, 8, 3] x) => (y) {
        t = Transpose <perm = [0, 3, 1, 2]> (x) a = Conv (t, W4x3x1x1) b = Transpose <perm = [0, 2, 3, 1]> (a)
        c = Mul (b, W4) y = Add (c, W8x4)
    }""",
    "quantized": """quantized (float[7, 2] x) => (y) <int8[2, 3] q = {1, -2, 3, 4, 5, -6}, float s = {0.5}> {
        w = DequantizeLinear (q, s) y = MatMul (x, w)
    }""",
    "norm": """norm (float[2, 6] x) => (y) <float e = {0.00001}, int64[1] last = {1}, float two = {2.0}> {
        m = ReduceMean (x, last) d = Sub (x, m) p = Pow (d, two) v = ReduceMean (p, last) z = Add (v, e) s = Sqrt (z)
        n = Div (d, s) g = Mul (n, W6) h = Add (g, W6) y = MatMul (h, W6x2)
    }""",
}  # fmt: skip


def model_of(text: str, seed: int = 0) -> onnx.ModelProto:
    """The model of a text; `W4x3` is a constant of that shape of its own for every place that names it."""
    rng, constants = np.random.default_rng(seed), []

    def drawn(match: re.Match[str]) -> str:
        array = rng.uniform(0.5, 1.5, [int(size) for size in match[1].split("x")]).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(array, f"{match[0]}_{len(constants)}"))
        return str(constants[-1].name)

    text = re.sub(r"\b[WVUP](\d+(?:x\d+)*)\b", drawn, text)
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    model.graph.initializer.extend(constants)
    return model


def weights_of(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.name[0] in "WVUPq"]


def normal(model: onnx.ModelProto) -> dict[str, ir.Value]:
    return dict(normalise(ir.from_proto(onnx.shape_inference.infer_shapes(model))).graph.initializers)


@pytest.mark.parametrize("name", TEXTS)
def test_a_constant_names_just_the_tensors_that_move_it(name):
    """The judge is the normal form of the same model with one tensor moved."""
    model = model_of(TEXTS[name])
    before = normal(model)

    moved: dict[str, set[str]] = {value: set() for value in before}
    for tensor in weights_of(model):
        other = onnx.ModelProto()
        other.CopyFrom(model)
        changed = next(each for each in other.graph.initializer if each.name == tensor.name)
        array = onnx.numpy_helper.to_array(changed)
        changed.CopyFrom(onnx.numpy_helper.from_array((array * 2).astype(array.dtype), tensor.name))
        for value, after in normal(other).items():
            if not np.array_equal(before[value].const_value.numpy(), after.const_value.numpy()):
                moved[value].add(tensor.name)

    matrices = {tensor.name for tensor in weights_of(model) if len(tensor.dims) > 1}
    told = {value: {origin.tensor for origin in origins(before[value])} for value in before}
    assert all(told[value] <= moved[value] for value in before)
    weights = [value for value in before if before[value].const_value.numpy().ndim > 1 and moved[value]]
    assert weights
    assert all(told[value] & matrices == moved[value] & matrices for value in weights)


def test_it_says_how():
    model = model_of(TEXTS["gemm"])

    found = normal(model)

    assert {origin for value in found.values() for origin in origins(value)} >= {
        Origin("W5x6_0", ("transposed", "scaled")),
        Origin("W5x3_2"),
    }


def test_a_constant_of_a_pass_came_from_nowhere():
    model = model_of("reshaped (float[2, 6] x) => (y) { a = MatMul (x, W6x4) y = Flatten <axis = 0> (a) }")

    shapes = [value for value in normal(model).values() if value.dtype == ir.DataType.INT64]

    assert [origins(value) for value in shapes] == [()]


def test_equal_weights_are_stored_once_and_keep_both_names():
    model = model_of("twice (float[2, 4] x) => (y) { a = MatMul (x, W4x4) y = MatMul (a, W4x4) }")
    model.graph.initializer[1].raw_data = model.graph.initializer[0].raw_data
    read = ir.from_proto(onnx.shape_inference.infer_shapes(model))

    (weight,) = normalise(read).graph.initializers.values()

    assert [origin.tensor for origin in origins(weight)] == ["W4x4_0", "W4x4_1"]
    assert all(not value.const_value.metadata_props for value in read.graph.initializers.values())


def test_the_model_that_was_read_is_not_marked():
    read = ir.from_proto(onnx.shape_inference.infer_shapes(model_of(TEXTS["batchnorm"])))

    normalise(read)

    assert KEY not in ir.to_proto(read).SerializeToString().decode("latin-1")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "3", "[3]", '[["a"]]', '[["a", 3]]', "null", "[[1, [2]]]"])
def test_what_a_file_says_of_origins_breaks_nothing(text, tmp_path):
    model = model_of(TEXTS["gemm"])
    model.graph.initializer[0].metadata_props.add(key=KEY, value=text)
    onnx.save(model, tmp_path / "model.onnx")

    found = load(tmp_path / "model.onnx")

    assert all(origins(value) is not None for value in found.graph.initializers.values())


def test_origins_survive_being_stored():
    found = normalise(ir.from_proto(onnx.shape_inference.infer_shapes(model_of(TEXTS["lstm"]))))

    again = ir.from_proto(ir.to_proto(found))

    for name, value in found.graph.initializers.items():
        assert origins(again.graph.initializers[name]) == origins(value)
        assert json.loads(value.const_value.metadata_props.get(KEY, "[]")) is not None
