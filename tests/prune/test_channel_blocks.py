"""Blocks RxQ keep neighbouring input channels at one place of the window, whatever method and whatever layer."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgesparse.prune import METHODS, prune
from tests.frontend.graphs import floats, model

TEXT = """g (float[1, 3, 7, 9] x) => (float[1, 12] y) {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, stem)
    [windows] b = Conv <pads = [1, 1, 1, 1]> (a, windows)
    [grouped] c = Conv <group = 2> (b, grouped)
    [points] d = Conv (c, points)
    [line] e = Conv <kernel_shape = [1, 5], pads = [0, 2, 0, 2]> (d, line)
    [up] f = ConvTranspose (e, up)
    m = ReduceMean <axes = [2, 3], keepdims = 0> (f)
    [linear] y = MatMul (m, linear)
}"""
SHAPES = {
    "stem": (8, 3, 3, 3),
    "windows": (16, 8, 3, 3),
    "grouped": (8, 8, 2, 2),
    "points": (12, 8, 1, 1),
    "line": (4, 12, 1, 5),
    "up": (4, 8, 2, 2),
    "linear": (8, 12),
}
OPSET = 13


def network():
    weights = {name: floats(*shape, seed=at) for at, (name, shape) in enumerate(SHAPES.items())}
    return model(TEXT, opset=OPSET, **weights)


def by_hand(name: str, w: np.ndarray) -> np.ndarray:
    """The weight as ONNX has it, as [output channels, input channels, places of the window]."""
    if name == "linear":
        return w.T[:, :, None]
    if name == "up":
        return w.swapaxes(0, 1).reshape(w.shape[1], w.shape[0], -1)
    return w.reshape(*w.shape[:2], -1)


@pytest.mark.parametrize("pattern", ["1x2", "1x4", "2x4", "4x4", "4x1"])
@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_channels_at_one_place(method, pattern):
    rows, columns = map(int, re.findall(r"\d+", pattern))
    samples = {"x": floats(6, 3, 7, 9, seed=9)} if METHODS[method].calibrated else None

    pruned = prune(network(), 0.4, method=method, pattern=pattern, calibration=samples, reconstruct=bool(samples))

    kept = total = 0
    for name in SHAPES:
        if name == "stem":
            continue
        w = by_hand(name, pruned.model.graph.initializers[name].const_value.numpy())
        (m, c, _), filled = w.shape, w != 0
        for row in range(0, m, rows):
            for channel in range(0, c, columns):
                block = filled[row : row + rows, channel : channel + columns]
                assert (block.all(axis=(0, 1)) == block.any(axis=(0, 1))).all(), (name, row, channel)
        kept, total = kept + np.count_nonzero(filled), total + w.size
    assert kept == pytest.approx(0.4 * total, abs=rows * columns * len(SHAPES))


def test_channels_that_a_block_does_not_divide_keep_a_layer_dense():
    """6 channels of a 2x2 window are 24 inputs, which blocks of four divide, and channels do not."""
    source = model(
        """g (float[1, 6, 5, 5] x) => (float[1, 8, 3, 3] y) {
            [first] a = Conv <pads = [1, 1, 0, 0]> (x, w0)
            [second] y = Conv <strides = [2, 2], pads = [1, 1, 0, 0]> (a, w1)
        }""",
        w0=floats(6, 6, 2, 2),
        w1=floats(8, 6, 2, 2),
    )

    with pytest.raises(Exception, match="pattern 1x4 needs input channels in multiples of 4; there are 6"):
        prune(source, 0.5, pattern="1x4")
