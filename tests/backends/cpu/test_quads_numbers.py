"""float32 numbers next to the middles of what is stored, where a quotient may round either way."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.quads_layout import Facts
from edgesparse.backends.cpu.kernels.quads_numbers import dequantize, quantize
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32, I32
from tests.backends.cpu.emulated import run_emulated
from tests.backends.cpu.executor import load_calls, run_image
from tests.backends.cpu.single import ARM, runnable_targets
from tests.backends.cpu.test_quads_small import number, quads, same_quads

SCALES = [0.0312817, 0.05, 1.0, 1 / 3, 2.0**-40, 1.7e-38, 3e-45, 5e29, 3e38]
"""Usual ones, one of which a division is needed for, and some whose products leave the range of normal numbers."""


def near_middles(by: Stored, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers up to three float32 steps from every middle, then some of every size, then what is no number."""
    middles = (np.arange(-260, 260) + 0.5).astype(np.float32) * np.float32(by.scale)
    steps = np.arange(-3, 4, dtype=np.int32)
    near = (middles.view(np.int32)[:, None] + steps).view(np.float32).ravel()
    bits = np.random.default_rng(0).integers(0, 1 << 32, np.prod(shape) - near.size, np.uint64).astype(np.uint32)
    return np.concatenate([near, bits.view(np.float32)]).reshape(shape)


def call_of(name: str, by: Stored, shape: tuple[int, ...], target: Target) -> Call:
    facts = Facts.of(shape, 1)
    return Call(
        name, "Test", quantize(facts, by, target), (Tensor(f"{name}x", shape, F32),), (Tensor(name, facts.shape, I32),)
    )


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_numbers_round_as_their_division_does(target: Target) -> None:
    """Signed or not, zero points at the ends, of scales of any size."""
    shape = (1, 5, 33, 32)
    every = {
        f"y{i}": Stored(float(np.float32(scale)), (-128, 0, 127)[i % 3] + (0 if i % 2 else 128), bool(i % 2))
        for i, scale in enumerate(SCALES)
    }
    calls = {name: call_of(name, by, shape, target) for name, by in every.items()}
    image = load_calls(calls.values(), target)

    for name, by in every.items():
        x = near_middles(by, shape)
        (got,) = run_image(image, [calls[name]], {f"{name}x": x}).values()
        assert same_quads(got, quads(number(by, x), 1), 5), name


@pytest.mark.parametrize("target", ARM, ids=lambda t: t.name)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_numbers_are_stored_the_same_on_arm(target: Target, tmp_path_factory: pytest.TempPathFactory) -> None:
    """There and back."""
    shape, by = (2, 7, 33, 9), Stored(0.0312817, -128, is_signed=True)
    facts, x = Facts.of(shape, 1), near_middles(by, shape)
    back = Call(
        "z", "Test", dequantize(facts, by, target), (Tensor("y", facts.shape, I32),), (Tensor("z", shape, F32),)
    )
    calls = [call_of("y", by, shape, target), back]

    found = run_emulated(calls, {"yx": x}, target, tmp_path_factory.getbasetemp())

    stored = number(by, x)
    assert same_quads(found["y"], quads(stored, 1), 7)
    np.testing.assert_array_equal(found["z"], (stored.astype(np.float32) + 128) * np.float32(by.scale))
