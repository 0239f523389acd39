"""Kernels of quads that are no weighted layers: into them, out of them, elementwise."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernel import Call, Kernel, Tensor
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.quads_elementwise import Limits, combined, mapped
from edgesparse.backends.cpu.kernels.quads_layout import Facts, from_quads, to_quads
from edgesparse.backends.cpu.kernels.quads_numbers import dequantize, quantize
from edgesparse.graph.layout import Quads
from edgesparse.numerics import F32, I32, Element, element
from tests.backends.cpu.executor import HOST, run_calls

U8, I8 = element("uint8"), element("int8")
SHAPES = [((1, 4, 3, 5), 1), ((2, 5, 7, 9), 1), ((1, 1, 1, 1), 1), ((1, 33, 6, 8), 1), ((3, 2), 1), ((1, 7, 10), 2)]


def quads(array: np.ndarray, axis: int, *, flip: bool = False, fill: int = 0) -> np.ndarray:
    """The bytes of a value in quads, written from the definition."""
    bits = array.view(np.uint8) ^ np.uint8(128 if flip else 0)
    if axis == array.ndim - 1:
        bits = bits.reshape(1, -1, array.shape[-1]).transpose(0, 2, 1)
    bits = bits.reshape(bits.shape[0], bits.shape[1], -1)
    filled = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 4), (0, 0)), constant_values=fill)
    return filled.reshape(filled.shape[0], -1, 4, filled.shape[2]).transpose(0, 1, 3, 2)


def same_quads(got: np.ndarray, expected: np.ndarray, channels: int) -> bool:
    """Whether all that means something is equal."""
    bytes_of = got.view(np.uint8).reshape(expected.shape).transpose(0, 1, 3, 2)
    wanted = expected.transpose(0, 1, 3, 2)
    flat = (-1, bytes_of.shape[1] * 4, bytes_of.shape[3])
    return np.array_equal(bytes_of.reshape(flat)[:, :channels], wanted.reshape(flat)[:, :channels])


def run(kernel: Kernel, arrays: list[np.ndarray], of: Element, shape: tuple[int, ...]) -> np.ndarray:
    """What one kernel writes."""
    reads = tuple(Tensor(f"x{i}", a.shape, element(a.dtype)) for i, a in enumerate(arrays))
    call = Call("one", "Test", kernel, reads, (Tensor("y", shape, of),))
    return run_calls([call], {f"x{i}": a for i, a in enumerate(arrays)})["y"]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("of", [U8, I8], ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_bytes_go_into_quads_and_come_back(shape: tuple[int, ...], axis: int, of: Element, flip: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8).view(of.numpy)
    facts = Facts.of(shape, axis)
    stored = Tensor("x", facts.shape, I32, Quads(axis, flip))
    calls = [
        to_quads(Tensor("x", shape, of), axis, stored, HOST),
        from_quads(stored, axis, Tensor("y", shape, of), HOST),
    ]
    found = run_calls(calls, {"x": array})
    assert same_quads(found[stored.memory], quads(array, axis, flip=flip), facts.channels)
    assert np.array_equal(found["y"], array)


BY = [
    Stored(0.05, 128, is_signed=False),
    Stored(0.013, 0, is_signed=True),
    Stored(1.0, 255, is_signed=False),
    Stored(3e-7, -128, is_signed=True),
]


def number(by: Stored, real: np.ndarray) -> np.ndarray:
    """QuantizeLinear, from its definition."""
    low, high = (-128, 127) if by.is_signed else (0, 255)
    scaled = np.rint(real.astype(np.float32) / np.float32(by.scale)).astype(np.float64)
    return np.clip(np.nan_to_num(scaled, nan=-1e9) + by.zero, low, high).astype(np.int8 if by.is_signed else np.uint8)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("by", BY, ids=str)
def test_numbers_are_quantized_as_onnx_defines(shape: tuple[int, ...], axis: int, by: Stored) -> None:
    rng, facts = np.random.default_rng(1), Facts.of(shape, axis)
    real = (rng.normal(size=shape) * 150 * by.scale).astype(np.float32)
    halves = ((rng.integers(-4, 4, shape) + 0.5) * by.scale).astype(np.float32)
    real = np.where(rng.random(shape) < 0.3, halves, real)
    for place, special in enumerate((np.nan, np.inf, -np.inf)):
        real.reshape(-1)[place : place + 1] = special
    expected = number(by, real)
    got = run(quantize(facts, by, HOST), [real], element("int32"), (facts.words,))
    assert same_quads(got, quads(expected, axis), facts.channels)
    words = np.ascontiguousarray(quads(expected, axis)).view(np.int32).reshape(-1)
    back = run(dequantize(facts, by, HOST), [words], F32, shape)
    assert np.array_equal(back, (expected.astype(np.int32) - by.zero).astype(np.float32) * np.float32(by.scale))


@pytest.mark.parametrize("words", [1, 7, 16, 33, 4096, 9001])
def test_a_map_multiplies_and_rounds_to_even(words: int) -> None:
    x, y, limits = BY[0], BY[1], Limits(3, 250)
    stored = np.random.default_rng(2).integers(0, 256, (words, 4), np.uint8)
    expected = np.rint((stored.astype(np.int32) - x.zero).astype(np.float32) * np.float32(0.75)).astype(np.int32)
    expected = np.clip(expected + y.zero, limits.low - 128, limits.high - 128).astype(np.int8)
    kernel = mapped(words, x, 0.75, y, limits, HOST)
    got = run(kernel, [stored.view(np.int32).reshape(-1)], element("int32"), (words,))
    assert np.array_equal(got.view(np.int8).reshape(words, 4), expected)


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("words", [1, 33, 9001])
@pytest.mark.parametrize("y", BY[:3], ids=str)
def test_two_values_are_combined_in_float32_step_by_step(words: int, product: bool, y: Stored) -> None:
    a, b, rng = BY[0], BY[1], np.random.default_rng(3)
    left, right = rng.integers(0, 256, (words, 4), np.uint8), rng.integers(-128, 128, (words, 4)).astype(np.int8)
    reals = [
        (stored.astype(np.int32) - by.zero).astype(np.float32) * np.float32(by.scale)
        for stored, by in ((left, a), (right, b))
    ]
    expected = number(y, reals[0] * reals[1] if product else reals[0] + reals[1])
    kernel = combined(words, product, a, b, y, Limits(0, 255), HOST)
    inputs = [np.ascontiguousarray(each).view(np.int32).reshape(-1) for each in (left, right)]
    got = run(kernel, inputs, element("int32"), (words,))
    assert np.array_equal(got.view(expected.dtype).reshape(words, 4), expected)
