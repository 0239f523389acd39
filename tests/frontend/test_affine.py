"""Sweeps over what is folded into weights: BatchNormalization, and constants that are one number per channel or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from tests.frontend.sweep import Sweep, reading

WHOLE = pytest.mark.slow(part="sweeps")
VARIANCES = {"usual": 0.7, "tiny": 1e-12, "zero": 0.0, "below zero": -1e-6, "huge": 1e30, "no number": -1.0}
N = 5
"""The size of every axis: what is a channel is not told by its size."""

IMAGE = [(), (1,), (N,), (N, 1), (N, 1, 1), (1, N, 1, 1), (1, 1, N, 1), (1, 1, 1, N), (N, N), (N, 1, N), (1, 1, 1, 1)]
RAISING = [(1, 1, 1, 1, 1), (1, 1, N, 1, 1)]
SHAPES = {
    "x": ((1, N, N, N), [*IMAGE, *RAISING]),
    "row": ((1, N, N), [(), (N,), (N, 1), (1, N, 1)]),
    "volume": ((1, N, 2, N, N), [(), (N,), (N, 1, 1, 1)]),
    "m": ((N, N), [(), (1,), (N,), (N, 1), (1, N), (1, 1), (N, N), (1, N, 1)]),
    "batch": ((2, N, N), [(), (N,), (N, 1), (2, 1, 1), (1, 1, N), (1, N, 1)]),
}


@pytest.mark.parametrize("opset", [15, *(pytest.param(opset, marks=WHOLE) for opset in (7, 9, 14))])
@pytest.mark.parametrize("channels", [1, 9, *(pytest.param(count, marks=WHOLE) for count in (7, 33))])
def test_batch_normalization_beside_every_layer(opset, channels):
    """Training left out: weights shared, values read elsewhere, padding that meets a shift, variances of every kind."""
    c = channels
    width = max(c, 3)
    sweep = Sweep({"x": (1, c, 5, width), "f": (3, c)})
    for variance, epsilon in itertools.product(VARIANCES.values(), (1e-5, 1e-3, 0.0)):
        gain, shift, mean = (sweep.constant(c) for _ in range(3))
        spread = sweep.put(np.full(c, variance, np.float32))
        norm = f"BatchNormalization <epsilon = {epsilon}> (_, {gain}, {shift}, {mean}, {spread})"
        full, deep, square = sweep.constant(c, c, 3, 3), sweep.constant(c, 1, 3, 3), sweep.constant(c, c)
        wide = sweep.constant(width, width)
        sweep.add(f"Conv <pads = [1, 1, 1, 1]> (x, {full}, {sweep.constant(c)})", norm)
        sweep.add(f"Conv <pads = [1, 1, 1, 1], group = {c}> (x, {deep})", norm, norm, outputs=(0, 1, 2))
        for window in ("", "<pads = [1, 1, 1, 1]>", '<auto_pad = "SAME_UPPER">'):
            sweep.add(reading(norm, "x"), f"Conv {window} (_, {full})")
        sweep.add(f"ConvTranspose (x, {full})", norm)
        sweep.add(f"ConvTranspose <group = {c}> (x, {deep})", norm)
        for product in (f"MatMul (f, {square})", f"MatMul (x, {wide})"):
            sweep.add(product, norm)
        sweep.add(f"Gemm <transB = 1> (f, {square}, {sweep.constant(c)})", norm)
        sweep.add(reading(norm, "f"), f"Gemm (_, {square}, {sweep.constant(c)})")
    sweep.check(opset)


def around(sweep: Sweep, value: str, step: str, fits: bool) -> Iterator[tuple[str, ...]]:
    """Networks with `step` before and behind layers; before them only where it keeps the shape."""
    rank = len(sweep.inputs[value])
    square = sweep.constant(N, N)
    yield reading(f"MatMul (_, {square})", value), step
    yield f"MatMul ({square}, {value})", step
    yield f"MatMul ({value}, {square})", step, f"Add (_, {sweep.constant(N)})", f"Mul (_, {sweep.constant(N)})"
    if fits:
        yield reading(step, value), f"MatMul (_, {square})"
    if value == "m":
        yield f"Gemm <alpha = 0.5, transB = 1> (m, {square}, {sweep.constant(N)})", step
    if rank < 3 or value == "batch":
        return
    ones, threes = [1] * (rank - 2), [3] * (rank - 2)
    pads = f"pads = {[1] * 2 * (rank - 2)}"
    layers = [
        f"Conv <{pads}> (_, {sweep.constant(N, N, *threes)}, {sweep.constant(N)})",
        f"Conv <{pads}, group = {N}> (_, {sweep.constant(N, 1, *threes)})",
        f"Conv (_, {sweep.constant(N, N, *ones)})",
        f"ConvTranspose (_, {sweep.constant(N, N, *ones)})",
    ]
    for layer in layers:
        yield reading(layer, value), step
        if fits:
            yield reading(step, value), layer
            yield reading(step, value), "Relu (_)", layer
    if value == "x" and fits:
        yield reading(layers[2], "x"), "Transpose <perm = [0, 2, 3, 1]> (_)", step, f"MatMul (_, {square})"
        last = "Transpose <perm = [0, 3, 1, 2]> (_)"
        yield "Transpose <perm = [0, 2, 3, 1]> (x)", step, last, layers[2]


@pytest.mark.parametrize("share", [0.04, pytest.param(1, marks=WHOLE)])
def test_constants_of_every_shape_around_every_layer(share):
    """On either side of Mul, Add, Sub and Div, the layer's own value read elsewhere or not."""
    rng = np.random.default_rng(7)
    sweep = Sweep({name: shape for name, (shape, _) in SHAPES.items()})
    for value, (shape, operands) in SHAPES.items():
        for operand, op, flip in itertools.product(operands, ("Mul", "Add", "Sub", "Div"), (False, True)):
            name = sweep.constant(*operand, low=0.5)
            step = f"{op} ({name}, _)" if flip else f"{op} (_, {name})"
            for steps in around(sweep, value, step, len(operand) <= len(shape)):
                if rng.random() < share:
                    sweep.add(*steps, outputs=(0, -1) if rng.random() < 0.2 else (-1,))
    sweep.check()


def test_constants_whose_product_is_no_number_of_the_type_stay_apart():
    """1e30 * 1e30 is infinite, and 1e-30 * 1e-30 is 0, before anything brings them back."""
    sweep = Sweep({"x": (3, 4)})
    large, small = sweep.put(np.float32(1e30)), sweep.put(np.float32(1e-30))
    sweep.add(f"Mul (x, {large})", f"Mul (_, {large})")
    sweep.add(f"Mul (x, {small})", f"Mul (_, {small})", f"Mul (_, {large})")
    sweep.add(f"Div (x, {sweep.put(np.float32(1e-41))})")
    sweep.add(f"MatMul (x, {sweep.put(np.full((4, 2), 1e30, np.float32))})", f"Mul (_, {large})")
    sweep.check()
