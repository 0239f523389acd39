"""Recurrent operators written out compute what ONNX Runtime computes for the operator itself."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgesparse.frontend.recurrent import expand_recurrent

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 7, 9


def recurrent(
    op: str, direction: str = "forward", layout: int = 0, *, optional: bool = True, peephole: bool = False, **attributes
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    d = 2 if direction == "bidirectional" else 1
    gates = GATES[op]

    def array(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / 3).astype(np.float32)  # small: Relu gates grow without bound

    weights = {"w": array(d, gates * HIDDEN, FEATURES), "r": array(d, gates * HIDDEN, HIDDEN)}
    inputs = ["x", "w", "r"]
    feeds = {"x": array(*((BATCH, STEPS, FEATURES) if layout else (STEPS, BATCH, FEATURES)))}
    outputs = ["y", "y_h"] + (["y_c"] if op == "LSTM" else [])
    if optional:
        weights["b"] = array(d, 2 * gates * HIDDEN)
        inputs += ["b", "", "h"] + (["c"] if op == "LSTM" else [])
        for name in inputs[5:]:
            feeds[name] = array(*((BATCH, d, HIDDEN) if layout else (d, BATCH, HIDDEN)))
    if peephole:
        weights["p"] = array(d, 3 * HIDDEN)
        inputs += ["p"]
    node = helper.make_node(
        op, inputs, outputs, name="cell", hidden_size=HIDDEN, direction=direction, layout=layout, **attributes
    )
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9), feeds


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


CASES = [
    *(
        (op, {"direction": direction, "optional": optional})
        for op, direction, optional in itertools.product(GATES, ("forward", "reverse", "bidirectional"), (False, True))
    ),
    ("LSTM", {"peephole": True}),
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"activations": ["Relu", "Softsign"]}),
]


@pytest.mark.parametrize(("op", "options"), CASES)
def test_written_out_it_computes_the_same(op, options):
    proto, feeds = recurrent(op, **options)
    model = ir.from_proto(proto)

    expand_recurrent(model)

    assert not {node.op_type for node in model.graph} & set(GATES)
    for actual, expected in zip(run(ir.to_proto(model), feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_layout_with_the_batch_first_is_transposed():
    """ONNX Runtime has no such layout: the judge is the other layout, transposed by numpy."""
    batch_first, feeds = recurrent("LSTM", layout=1)
    time_first, _ = recurrent("LSTM", layout=0)
    model = ir.from_proto(batch_first)

    expand_recurrent(model)

    y, h, c = run(time_first, {name: np.ascontiguousarray(a.swapaxes(0, 1)) for name, a in feeds.items()})
    expected = [y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)]
    for actual, want in zip(run(ir.to_proto(model), feeds), expected, strict=True):
        np.testing.assert_allclose(actual, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "options"), [("LSTM", {"clip": 1.0}), ("LSTM", {"input_forget": 1}), ("RNN", {"activations": ["Affine"]})]
)
def test_what_cannot_be_written_out_stays(op, options):
    model = ir.from_proto(recurrent(op, **options)[0])

    expand_recurrent(model)

    assert [node.op_type for node in model.graph] == [op]
