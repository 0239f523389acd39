"""Sweeps over every rule of the normal form: square sizes, all axes, shared weights, values that are read elsewhere.

A sweep is one model of many small networks, so that nothing is seen by its size; ONNX Runtime is the judge of each.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.frontend.sweep import Sweep

pytestmark = pytest.mark.slow(part="sweeps")
N = 3  # the size of every axis


def test_weights_that_layers_share_stay_each_layers_own():
    sweep = Sweep({"x": (1, N, N, N)})
    weight, bias = sweep.constant(N, N, 1, 1), sweep.constant(N)
    names = [sweep.constant(N, low=0.5) for _ in range(2)]
    for scale in names:
        column = sweep.put(sweep.constants[scale].reshape(N, 1, 1))
        sweep.add(f"Conv (x, {weight}, {bias})", f"Mul (_, {column})", f"Add (_, {column})")
        sweep.add(f"Mul (x, {column})", f"Conv (_, {weight}, {bias})")
    sweep.add(f"Conv (x, {weight}, {bias})", f"Mul (_, {weight})")
    sweep.check()


def test_products_of_every_rank():
    sweep = Sweep({"v": (N,), "m": (N, N), "t": (N, N, N), "q": (1, N, N, N)})
    for a, b in itertools.product(["v", "m", "t", "q"], [(N,), (N, N), (1, N, N), (N, N, N), (1, 1, N, N)]):
        weight = sweep.constant(*b)
        sweep.add(f"MatMul ({a}, {weight})")
        sweep.add(f"MatMul ({weight}, {a})")
        sweep.add(f"MatMul ({a}, {weight})", f"Mul (_, {sweep.constant(N, low=0.5)})")
        sweep.add(f"MatMul ({a}, {weight})", f"Add (_, {sweep.constant(N)})")
    for a, b in itertools.product(["v", "m", "t", "q"], repeat=2):
        sweep.add(f"MatMul ({a}, {b})")
    sweep.check()


def test_gemm_with_every_bias_and_every_way_to_lie():
    sweep = Sweep({"x": (N, N), "z": (N, N)})
    biases = ["", *(sweep.constant(*shape) for shape in [(), (1,), (N,), (1, 1), (1, N), (N, 1), (N, N)]), "z"]
    for bias, a, b, (alpha, beta), weight in itertools.product(
        biases, (0, 1), (0, 1), ((1.0, 1.0), (0.5, 2.0), (0.5, 0.0)), ("z", sweep.constant(N, N))
    ):
        attributes = f"alpha = {alpha}, beta = {beta}, transA = {a}, transB = {b}"
        sweep.add(f"Gemm <{attributes}> ({', '.join(filter(None, ['x', weight, bias]))})")
    sweep.check()


SINGLE = [(), (1,), (1, 1, 1, 1)]


@pytest.mark.parametrize(("rank", "shape"), itertools.product((1, 2, 3), SINGLE))
def test_activations_keep_their_rank_whatever_their_constants_have(rank, shape):
    """One number of more dimensions than the value gives the result these dimensions."""
    sweep = Sweep({"x": (N,) * rank})

    def number(value: float) -> str:
        return sweep.put(np.full(shape, value, np.float32))

    root, one, half = number(np.sqrt(2)), number(1.0), number(0.5)
    sweep.add(f"Div (x, {root})", "Erf (_)", f"Add (_, {one})", "Mul (x, _)", f"Mul (_, {half})")
    sweep.add(f"Mul (x, {number(np.sqrt(0.5))})", "Erf (_)", f"Add (_, {one})", f"Mul (_, {half})", "Mul (x, _)")
    low, high = sweep.put(np.float32(0)), sweep.put(np.float32(6))
    sweep.add(f"Add (x, {number(3)})", f"Clip (_, {low}, {high})", "Mul (x, _)", f"Div (_, {number(6)})")
    sweep.add(f"Add (x, {number(3)})", f"Clip (_, {low}, {high})", f"Div (_, {number(6)})", "Mul (x, _)")
    sweep.add(f"Max (x, {number(-0.5)})", f"Min (_, {number(0.5)})")
    sweep.add(f"Min (x, {number(0.5)})", f"Max (_, {number(-0.5)})")
    sweep.add(f"Max (x, {number(0.5)})", f"Min (_, {number(-0.5)})")
    sweep.add(f"Add (x, {number(0)})")
    sweep.add(f"Mul (x, {number(1)})")
    sweep.check()
