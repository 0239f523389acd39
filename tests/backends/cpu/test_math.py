"""Inline elementary functions against scipy in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
from tvm.tirx import Buffer, Expr

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.executor import run_calls
from tests.backends.cpu.single import ARM, WIDE, undefined_symbols

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-30, 3e38, -3e38, 1.0, -1.0], np.float32)


def elementwise(name: str, function: Callable[[Expr], Expr], size: int, lanes: Lanes) -> Kernel:
    """A kernel that applies `function` to `size` elements, one vector a tile."""

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        lanes.store(y, tile * lanes.count, function(lanes.load(x, tile * lanes.count)))

    symbol = kernel_symbol(name, F32, f"n{size}", None, lanes)
    return build_kernel(symbol, [Param(size, F32)] * 2, size // lanes.count, body)


def apply(name: str, x: np.ndarray, lanes: int) -> np.ndarray:
    """The function `name` of `math` over an array, `lanes` at a time."""
    x = np.resize(x, -(-x.size // 16) * 16)
    kernel = elementwise(name, getattr(math, name), x.size, Lanes(lanes, F32))
    call = Call("test", name, kernel, (Tensor("x", x.shape, F32),), (Tensor("y", x.shape, F32),))
    return run_calls([call], {"x": x})["y"]


def ulps(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest distance in units of the last place of the rounded expected value."""
    expected_f32 = expected.astype(np.float32)
    finite = np.isfinite(expected_f32)
    assert np.array_equal(actual[~finite], expected_f32[~finite], equal_nan=True)
    distance = np.abs(actual[finite].astype(np.float64) - expected[finite])
    return float((distance / np.spacing(np.abs(expected_f32[finite]))).max())


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_exp_is_within_two_ulp_from_denormal_to_infinity(lanes: int) -> None:
    x = np.concatenate([np.linspace(-110, 95, 100_000, dtype=np.float32), SPECIAL])

    y = apply("exp", x, lanes)

    with np.errstate(over="ignore"):
        assert ulps(y[: x.size], np.exp(x.astype(np.float64))) <= 2.0


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_exp_of_nonpositive_flushes_what_is_denormal(lanes: int) -> None:
    x = np.concatenate([np.linspace(-110, 0, 100_000), [-np.inf, -3e38, -0.0, np.nan]]).astype(np.float32)

    y = apply("exp_nonpositive", x, lanes)[: x.size]

    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=2.4e-7, atol=1.3e-38)
    assert np.all(y[x < -88] == 0)


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_log_is_within_two_ulp_over_all_magnitudes(lanes: int) -> None:
    x = np.concatenate([np.logspace(-44, 38, 100_000), np.linspace(0.5, 2, 10_000), SPECIAL]).astype(np.float32)

    y = apply("log", x, lanes)

    with np.errstate(divide="ignore", invalid="ignore"):
        assert ulps(y[: x.size], np.log(x.astype(np.float64))) <= 2.0


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize(("name", "reference"), [("tanh", np.tanh), ("erf", scipy.special.erf)])
def test_tanh_and_erf_are_accurate_near_zero_and_saturate(
    name: str, reference: Callable[[np.ndarray], np.ndarray], lanes: int
) -> None:
    small = np.logspace(-37, 0, 10_000)
    x = np.concatenate([np.linspace(-12, 12, 100_000), small, -small, SPECIAL]).astype(np.float32)

    y = apply(name, x, lanes)[: x.size]

    expected = reference(x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=4e-7, atol=1e-44)
    assert np.array_equal(np.abs(y[np.abs(x) > 10]), np.ones(np.count_nonzero(np.abs(x) > 10)))


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_sigmoid_keeps_relative_accuracy_in_its_lower_tail(lanes: int) -> None:
    x = np.concatenate([np.linspace(-87, 20, 100_000, dtype=np.float32), SPECIAL])

    y = apply("sigmoid", x, lanes)[: x.size]

    np.testing.assert_allclose(y, scipy.special.expit(x.astype(np.float64)), rtol=4e-7, atol=1e-44)


@pytest.mark.parametrize("target", [WIDE, *ARM], ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["exp", "exp_nonpositive", "log", "tanh", "erf", "sigmoid"])
def test_functions_need_no_library(name: str, target: Target) -> None:
    kernel = elementwise(name, getattr(math, name), 64, Lanes(target.cpu.lanes(F32), F32))

    assert undefined_symbols([kernel], target) == set()
