"""Sums, products and multiples of quads: every pair of bytes, judged by numpy and by ONNX Runtime step by step."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesparse.backends.cpu.kernel import Call, Kernel, Tensor
from edgesparse.backends.cpu.kernels.byte_pairs import fused_sum, reciprocal, scaled_product
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.quads_elementwise import Limits, combined, mapped
from edgesparse.devices.targets import Target
from edgesparse.numerics import I32
from tests.backends.cpu.emulated import run_emulated
from tests.backends.cpu.executor import HOST, load_calls, run_image
from tests.backends.cpu.single import ARM, runnable_targets

U8 = Stored(0.0312817, 120, is_signed=False)
I8 = Stored(0.0472173, -128, is_signed=True)
PLAIN = Stored(0.0517739, 0, is_signed=False)
ENDS = Stored(0.0271, 127, is_signed=True)
TIES = (Stored(0.5, 7, is_signed=False), Stored(0.5, 200, is_signed=False), Stored(1.0, 100, is_signed=False))
DECIMAL = (Stored(0.031, 120, is_signed=False), Stored(0.047, 3, is_signed=False), Stored(0.05, 0, is_signed=False))
ALL = Limits(0, 255)
TRIPLES = [(U8, I8, PLAIN), (I8, I8, ENDS), (PLAIN, U8, I8), (PLAIN, PLAIN, PLAIN), TIES, DECIMAL]
LEFT, RIGHT = (numbers.astype(np.uint8).ravel() for numbers in np.indices((256, 256)))
"""All pairs."""


def real(raw: np.ndarray, by: Stored) -> np.ndarray:
    stored = raw.view(np.int8) if by.is_signed else raw
    return (stored.astype(np.int32) - by.zero).astype(np.float32) * np.float32(by.scale)


def quantized(numbers: np.ndarray, by: Stored, limits: Limits = ALL) -> np.ndarray:
    """Raw bytes."""
    offset = 128 if by.is_signed else 0
    found = np.rint(numbers / np.float32(by.scale)).astype(np.float64) + by.zero
    return np.clip(found, limits.low - offset, limits.high - offset).astype(np.int64).astype(np.uint8)


def call_of(name: str, kernel: Kernel, words: int, spread: int = 0) -> Call:
    sizes = (words, words // spread) if spread else (words,)
    reads = tuple(Tensor(f"{name}{place}", (size,), I32) for place, size in enumerate(sizes))
    return Call(name, "Test", kernel, reads, (Tensor(name, (words,), I32),))


def words_of(raw: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(raw).view(np.int32).ravel()


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_every_pair_of_bytes_is_combined_step_by_step(target: Target) -> None:
    """Signed or not, zero points at the ends, scales whose sums are ties, limits."""
    calls, expected = {}, {}
    for number, (a, b, y) in enumerate(TRIPLES):
        limits = Limits(0, 255) if number % 2 else Limits(17, 230)
        for is_product in (False, True):
            name = f"{'mul' if is_product else 'add'}{number}"
            kernel = combined(LEFT.size // 4, is_product, a, b, y, limits, target)
            calls[name] = call_of(name, kernel, LEFT.size // 4, 1)
            left, right = real(LEFT, a), real(RIGHT, b)
            expected[name] = quantized(left * right if is_product else left + right, y, limits)
    image = load_calls(calls.values(), target)

    for name, call in calls.items():
        (got,) = run_image(image, [call], {f"{name}0": words_of(LEFT), f"{name}1": words_of(RIGHT)}).values()
        np.testing.assert_array_equal(got.view(np.uint8), expected[name], err_msg=name)


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_the_rule_is_that_of_onnxruntime(op: str) -> None:
    """Of its operators one by one, for every pair."""
    a, b, y = TRIPLES[0]
    initializers, nodes = [], []
    for name, by in (("a", a), ("b", b), ("y", y)):
        zero = np.int8(by.zero) if by.is_signed else np.uint8(by.zero)
        initializers += [
            numpy_helper.from_array(np.float32(by.scale), f"{name}_scale"),
            numpy_helper.from_array(np.asarray(zero), f"{name}_zero"),
        ]
        ends = ("DequantizeLinear", f"{name}_q", f"{name}_f") if name != "y" else ("QuantizeLinear", "y_f", "y_q")
        nodes.append(helper.make_node(ends[0], [ends[1], f"{name}_scale", f"{name}_zero"], [ends[2]]))
    nodes.insert(2, helper.make_node(op, ["a_f", "b_f"], ["y_f"]))
    feeds = {"a_q": LEFT, "b_q": RIGHT.view(np.int8)}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info("y_q", TensorProto.UINT8, LEFT.shape)]
    graph = helper.make_graph(nodes, "pair", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    (judged,) = session.run(None, feeds)

    left, right = real(LEFT, a), real(RIGHT, b)
    np.testing.assert_array_equal(judged, quantized(left * right if op == "Mul" else left + right, y))


def test_divisions_are_left_only_where_nothing_else_gives_the_same() -> None:
    assert fused_sum(U8, I8, PLAIN, 0, 255) is not None
    assert scaled_product(U8, I8, PLAIN, 0, 255) is not None
    assert fused_sum(*DECIMAL, 0, 255) is None and reciprocal(*DECIMAL, 0, 255, is_product=False) is None


@pytest.mark.parametrize("spread", [1, 3, 49, 4097])
def test_one_word_is_combined_with_many(spread: int) -> None:
    """As a factor of each channel is with an image."""
    a, b, y = TRIPLES[0]
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 256, (size, 4)).astype(np.uint8) for size in (5 * spread, 5))
    call = call_of("y", combined(5 * spread, True, a, b, y, Limits(0, 255), HOST, spread), 5 * spread, spread)

    (got,) = run_image(load_calls([call]), [call], {"y0": words_of(left), "y1": words_of(right)}).values()

    expected = quantized(real(left, a) * real(np.repeat(right, spread, axis=0), b), y)
    np.testing.assert_array_equal(got.view(np.uint8), expected.ravel())


@pytest.mark.parametrize("target", ARM, ids=lambda t: t.name)
def test_pairs_and_multiples_are_the_same_on_arm(target: Target, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    left, right = LEFT[:50036], RIGHT[:50036]  # four more than a multiple of a vector
    size = left.size // 4
    feeds = {
        f"{name}{place}": words_of(raw) for name in ("add", "mul", "map") for place, raw in enumerate((left, right))
    }
    a, b, y = TRIPLES[1]
    calls = [
        call_of("add", combined(size, False, a, b, y, Limits(9, 255), target), size, 1),
        call_of("mul", combined(size, True, a, b, y, Limits(0, 200), target), size, 1),
        call_of("map", mapped(size, a, 1.7, y, Limits(1, 254), target), size),
    ]

    found = run_emulated(calls, feeds, target, folder)

    first, second = real(left, a), real(right, b)
    above = left.view(np.int8).astype(np.int32) - a.zero
    multiple = np.rint(above.astype(np.float32) * np.float32(1.7)) + y.zero
    expected = {
        "add": quantized(first + second, y, Limits(9, 255)),
        "mul": quantized(first * second, y, Limits(0, 200)),
        "map": np.clip(multiple, 1 - 128, 254 - 128).astype(np.int8).view(np.uint8),
    }
    for name, wanted in expected.items():
        np.testing.assert_array_equal(found[name].view(np.uint8), wanted, err_msg=name)
