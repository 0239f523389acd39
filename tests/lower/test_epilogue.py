"""Epilogues: each activation against ONNX Runtime, and what is left to other kernels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from tvm.tirx import Buffer, Expr

from edgesparse.lower.kernel import Call, Lanes, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.lower.kernels.epilogue import Activation, Epilogue, activation_of
from edgesparse.targets import Target
from tests.lower.executor import HOST, run_calls
from tests.lower.single import Single, runnable_targets, single

F32 = np.float32
INPUT = np.concatenate([np.linspace(-12, 12, 500), [0.0, -0.0, 1e-30, 100.0, -100.0, 1e6, -1e6, np.nan]]).astype(F32)
INPUT = np.resize(INPUT, 512)

NODES = {
    "relu": single("Relu", [INPUT]),
    "clip": single("Clip", [INPUT], constants=[F32(-1.5), F32(6.0)]),
    "clip_attributes": single("Clip", [INPUT], opset=6, min=0.0, max=6.0),
    "clip_low": single("Clip", [INPUT], constants=[F32(0.5)]),
    "leaky_relu": single("LeakyRelu", [INPUT], alpha=0.2),
    "prelu": single("PRelu", [INPUT], constants=[np.array([0.3], F32)]),
    "elu": single("Elu", [INPUT], alpha=1.5),
    "selu": single("Selu", [INPUT]),
    "hard_sigmoid": single("HardSigmoid", [INPUT], alpha=0.25),
    "hard_swish": single("HardSwish", [INPUT]),
    "sigmoid": single("Sigmoid", [INPUT]),
    "tanh": single("Tanh", [INPUT]),
    "gelu": single("Gelu", [INPUT]),
    "gelu_tanh": single("Gelu", [INPUT], approximate="tanh"),
}


def run(epilogue: Epilogue, x: np.ndarray, residual: np.ndarray | None, target: Target) -> np.ndarray:
    """Apply an epilogue to an array as a kernel would."""
    lanes = Lanes(target.lanes)

    def body(tile: Expr, x: Buffer, residual: Buffer, y: Buffer) -> None:
        other = lanes.load(residual, tile * lanes.count) if epilogue.residual else None
        lanes.store(y, tile * lanes.count, epilogue.apply(lanes.load(x, tile * lanes.count), other))

    symbol = kernel_symbol("epilogue", x.size, epilogue, target.lanes)
    kernel = build_kernel(symbol, [Param(x.size)] * 3, x.size // lanes.count, body)
    tensors = [Tensor(name, x.shape) for name in ("x", "residual", "y")]
    call = Call("test", "test", kernel, tuple(tensors[:2]), (tensors[2],))
    return run_calls([call], {"x": x, "residual": np.zeros_like(x) if residual is None else residual}, target)["y"]


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.lanes}lanes")
@pytest.mark.parametrize("name", NODES)
def test_activation_matches_onnxruntime(name: str, target: Target) -> None:
    """Every activation agrees with ONNX Runtime, in its tails too; NaN stays NaN."""
    case: Single = NODES[name]
    activation = activation_of(case.node)
    assert activation is not None

    y = run(Epilogue(activation), INPUT, None, target)

    finite = ~np.isnan(INPUT)
    np.testing.assert_allclose(y[finite], case.judge()[finite], rtol=2e-6, atol=2e-6)
    assert np.isnan(y[~finite]).all()


def test_swish_is_x_times_sigmoid_of_scaled_x() -> None:
    y = run(Epilogue(Activation("swish", (1.7,))), INPUT, None, HOST)

    x = INPUT.astype(np.float64)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(y, x / (1 + np.exp(-1.7 * x)), rtol=1e-6, atol=1e-6)


def test_residual_is_added_before_the_activation() -> None:
    residual = INPUT[::-1].copy()

    y = run(Epilogue(Activation("relu"), residual=True), INPUT, residual, HOST)

    np.testing.assert_array_equal(y, np.where(INPUT + residual < 0, F32(0), INPUT + residual))


@pytest.mark.parametrize(
    "case",
    [
        single("Clip", [INPUT, np.zeros((), F32)]),
        single("PRelu", [INPUT.reshape(2, 256)], constants=[np.zeros(256, F32)]),
        single("Add", [INPUT, INPUT]),
    ],
    ids=["clip_computed_bound", "prelu_many_slopes", "not_an_activation"],
)
def test_other_nodes_are_no_activation(case: Single) -> None:
    assert activation_of(case.node) is None


def test_functions_of_other_domains_are_no_activation() -> None:
    node = ir.node("Relu", [ir.Value(name="x")], domain="com.example")

    assert activation_of(node) is None
