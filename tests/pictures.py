"""Preprocessing written by hand, in numpy and float64: the judge of what `preprocess` compiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def prepared(
    frame: np.ndarray,
    size: tuple[int, int],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    flip: bool = False,
    letterbox: bool = False,
) -> np.ndarray:
    """The tensor [1, C, h, w] of a frame [H, W, C] or [H, W]; `size` is width and height."""
    pixels = np.atleast_3d(frame).astype(np.float64)
    width, height = size
    if letterbox:
        ratio = min(width / pixels.shape[1], height / pixels.shape[0])
        inner = resized(pixels, round(pixels.shape[1] * ratio), round(pixels.shape[0] * ratio))
        pixels = np.full((height, width, pixels.shape[2]), 114.0)
        top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
        pixels[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    else:
        pixels = resized(pixels, width, height)
    pixels = pixels[:, :, ::-1] if flip else pixels
    return ((pixels - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None]


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bilinear, with pixels at their centres; what lies outside is the edge."""
    rows = _along(pixels, height)
    return _along(rows.transpose(1, 0, 2), width).transpose(1, 0, 2)


def _along(pixels: np.ndarray, count: int) -> np.ndarray:
    last = len(pixels) - 1
    at = np.clip((np.arange(count) + 0.5) * len(pixels) / count - 0.5, 0, last)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None, None]
    return pixels[low] * (1 - share) + pixels[np.minimum(low + 1, last)] * share
