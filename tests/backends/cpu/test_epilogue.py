"""Epilogues: each activation against ONNX Runtime, and what is left to other kernels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from tvm.tirx import Buffer, Expr

from edgesparse.backends.cpu.kernel import Call, Lanes, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.epilogue import Epilogue
from edgesparse.devices.targets import Target
from edgesparse.graph.activation import Activation, activation_of
from edgesparse.numerics import F32
from tests.backends.cpu.executor import HOST, load_calls, run_calls, run_image
from tests.backends.cpu.single import Single, runnable_targets, single

INPUT = np.concatenate([np.linspace(-12, 12, 500), [0.0, -0.0, 1e-30, 100.0, -100.0, 1e6, -1e6, np.nan]]).astype(
    np.float32
)
INPUT = np.resize(INPUT, 512)

NODES = {
    "relu": single("Relu", [INPUT]),
    "clip": single("Clip", [INPUT], constants=[np.float32(-1.5), np.float32(6.0)]),
    "clip_attributes": single("Clip", [INPUT], opset=6, min=0.0, max=6.0),
    "clip_low": single("Clip", [INPUT], constants=[np.float32(0.5)]),
    "leaky_relu": single("LeakyRelu", [INPUT], alpha=0.2),
    "prelu": single("PRelu", [INPUT], constants=[np.array([0.3], np.float32)]),
    "elu": single("Elu", [INPUT], alpha=1.5),
    "selu": single("Selu", [INPUT]),
    "hard_sigmoid": single("HardSigmoid", [INPUT], alpha=0.25),
    "hard_swish": single("HardSwish", [INPUT]),
    "sigmoid": single("Sigmoid", [INPUT]),
    "tanh": single("Tanh", [INPUT]),
    "gelu": single("Gelu", [INPUT]),
    "gelu_tanh": single("Gelu", [INPUT], approximate="tanh"),
}


def call_of(epilogue: Epilogue, target: Target) -> Call:
    """A call that applies an epilogue to `x` as a kernel would."""
    size, lanes = INPUT.size, Lanes(target.cpu.lanes(F32), F32)

    def body(tile: Expr, x: Buffer, residual: Buffer, y: Buffer) -> None:
        other = lanes.load(residual, tile * lanes.count) if epilogue.residual else None
        lanes.store(y, tile * lanes.count, epilogue.apply(lanes.load(x, tile * lanes.count), other))

    symbol = kernel_symbol("epilogue", F32, f"n{size}", target, epilogue)
    kernel = build_kernel(symbol, [Param(size, F32)] * 3, size // lanes.count, body)
    x, residual, y = (Tensor(name, (size,), F32) for name in ("x", "residual", "y"))
    return Call("test", "test", kernel, (x, residual), (y,))


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_activation_matches_onnxruntime(target: Target) -> None:
    """Every activation agrees with ONNX Runtime, in its tails too; NaN stays NaN."""
    finite = ~np.isnan(INPUT)
    activations = {name: activation_of(case.node) for name, case in NODES.items()}
    assert None not in activations.values()
    calls = {name: call_of(Epilogue(activation), target) for name, activation in activations.items()}
    image = load_calls(calls.values(), target)

    for name, call in calls.items():
        y = run_image(image, [call], {"x": INPUT, "residual": np.zeros_like(INPUT)})["y"]

        expected = NODES[name].judge()
        np.testing.assert_allclose(y[finite], expected[finite], rtol=2e-6, atol=2e-6, err_msg=name)
        assert np.isnan(y[~finite]).all(), name


def test_swish_is_x_times_sigmoid_of_scaled_x() -> None:
    call = call_of(Epilogue(Activation("swish", (1.7,))), HOST)

    y = run_calls([call], {"x": INPUT, "residual": np.zeros_like(INPUT)})["y"]

    x = INPUT.astype(np.float64)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(y, x / (1 + np.exp(-1.7 * x)), rtol=1e-6, atol=1e-6)


def test_residual_is_added_before_the_activation() -> None:
    residual = INPUT[::-1].copy()

    y = run_calls([call_of(Epilogue(Activation("relu"), residual=True), HOST)], {"x": INPUT, "residual": residual})["y"]

    np.testing.assert_array_equal(y, np.where(INPUT + residual < 0, np.float32(0), INPUT + residual))


@pytest.mark.parametrize(
    "case",
    [
        single("Clip", [INPUT, np.zeros((), np.float32)]),
        single("PRelu", [INPUT.reshape(2, 256)], constants=[np.zeros(256, np.float32)]),
        single("Add", [INPUT, INPUT]),
    ],
    ids=["clip_computed_bound", "prelu_many_slopes", "not_an_activation"],
)
def test_other_nodes_are_no_activation(case: Single) -> None:
    assert activation_of(case.node) is None


def test_functions_of_other_domains_are_no_activation() -> None:
    node = ir.node("Relu", [ir.Value(name="x")], domain="com.example")

    assert activation_of(node) is None
