"""Dense 3x3 convolutions in squares of 2x2 outputs compute what the definition and ONNX Runtime say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper

from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.forms.winograd import WinogradTile, transform_weight
from tests.backends.cpu.executor import key, load_calls, run_image
from tests.backends.cpu.planned import lowered_by
from tests.backends.cpu.single import ARM, Single, random, runnable_targets, several, undefined_symbols

TILES = [WinogradTile(1, 1, 8), WinogradTile(2, 1, 5, splits=2), WinogradTile(4, 1, 3, splits=3)]
IMAGES = [
    ((1, 3, 1, 1), (1, 1, 1, 1)),
    ((1, 5, 7, 7), (1, 1, 1, 1)),
    ((2, 4, 8, 9), (1, 1, 1, 1)),
    ((1, 2, 9, 33), (0, 0, 0, 0)),
    ((1, 2, 33, 14), (0, 1, 1, 0)),
    ((2, 3, 13, 9), (2, 0, 0, 1)),
    ((1, 2, 4, 75), (3, 5, 1, 2)),
    ((1, 2, 3, 140), (1, 1, 1, 1)),
    ((1, 1, 3, 3), (0, 0, 0, 0)),
]
"""Shape of x, and pads above, left, below, right; sizes are odd and even, and straddle the vectors."""


def convolution(shape: tuple[int, ...], m: int, pads: tuple[int, ...], epilogue: bool = False) -> Single:
    """Conv with a bias; with `epilogue` also a residual and Relu."""
    constants = {"w": random((m, shape[1], 3, 3), seed=1), "b": random((m,), seed=2)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["a" if epilogue else "y"], name="conv", pads=pads)]
    inputs = {"x": random(shape)}
    if epilogue:
        out = (shape[0], m, shape[2] + pads[0] + pads[2] - 2, shape[3] + pads[1] + pads[3] - 2)
        inputs["r"] = random(out, seed=3)
        nodes.append(helper.make_node("Add", ["a", "r"], ["s"], name="add"))
        nodes.append(helper.make_node("Relu", ["s"], ["y"], name="relu"))
    return several(nodes, inputs, constants)


def definition(x: np.ndarray, w: np.ndarray, b: np.ndarray, pads: tuple[int, ...]) -> np.ndarray:
    """The convolution in float64."""
    top, left, bottom, right = pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,mcij->nmhw", windows, w.astype(np.float64)) + b[:, None, None]


def lowered(case: Single, target: Target, tile: WinogradTile) -> Lowered:
    """The calls of the model, its layer computed with a tile."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(case.model, strict_mode=True))
    return lowered_by(model, lambda _: tile, target)


def run(cases: Sequence[Single], target: Target, tile: WinogradTile, *, inplace: bool = False) -> list[np.ndarray]:
    """The output of each case, by kernels that are compiled together."""
    programs = [lowered(case, target, tile) for case in cases]
    image, results = load_calls([call for program in programs for call in program.calls], target), []
    for case, program in zip(cases, programs, strict=True):
        (call,) = program.calls  # no padding apart, whatever is absorbed
        assert "winograd" in call.kernel.symbol
        y = program.outputs["y"]
        results.append(run_image(image, program.calls, case.inputs, inplace=inplace)[key(y)].reshape(y.shape))
    return results


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("tile", TILES)
def test_convolutions_match_the_definition(target, tile):
    sizes = [(shape, pads, (1, 7, 8, 9)[number % 4]) for number, (shape, pads) in enumerate(IMAGES)]
    cases = [convolution(shape, m, pads) for shape, pads, m in sizes]

    for (shape, pads, m), case, actual in zip(sizes, cases, run(cases, target, tile), strict=True):
        expected = definition(case.inputs["x"], random((m, shape[1], 3, 3), seed=1), random((m,), seed=2), pads)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=f"{shape} {pads}")


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("inplace", [False, True])
def test_bias_residual_and_activation_are_absorbed(target, inplace):
    cases = [convolution(shape, 9, pads, epilogue=True) for shape, pads in IMAGES]

    for image, case, actual in zip(IMAGES, cases, run(cases, target, TILES[1], inplace=inplace), strict=True):
        np.testing.assert_allclose(actual, case.judge(), rtol=1e-5, atol=2e-5, err_msg=str(image))


def test_many_channels_lose_no_accuracy():
    """The largest error of 4,608 products a sum stays that of float32, next to ONNX Runtime's own."""
    case = convolution((1, 512, 7, 7), 16, (1, 1, 1, 1))
    exact = definition(case.inputs["x"], random((16, 512, 3, 3), seed=1), random((16,), seed=2), (1, 1, 1, 1))

    error = np.abs(run([case], runnable_targets()[-1], TILES[0])[0] - exact).max()

    assert error < 1e-5 * np.abs(exact).max()


def test_the_weight_is_transformed_as_the_paper_says():
    """A delta in the middle of the window becomes 1/4 of the products' signs, rounded once from float64."""
    w = np.zeros((3, 1, 3, 3), np.float32)
    w[1, 0, 1, 1] = 1

    panels = transform_weight(w, 2)

    assert panels.shape == (2, 16, 1, 2) and panels.dtype == np.float32
    side = np.array([0, 0.5, -0.5, 0])
    np.testing.assert_array_equal(panels[0, :, 0, 1], np.outer(side, side).ravel())
    assert not panels[0, :, 0, 0].any() and not panels[1].any()


@pytest.mark.parametrize("target", ARM, ids=lambda t: t.name)
def test_the_kernel_needs_no_library(target):
    calls = lowered(convolution((1, 3, 9, 14), 5, (1, 1, 1, 1), epilogue=True), target, TILES[1]).calls

    assert undefined_symbols([call.kernel for call in calls], target) == set()
