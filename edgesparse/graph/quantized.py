"""How real numbers are stored as small integers, and what becomes of integer sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.numerics import Element


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (stored - zero), in float32; one of each for a tensor, or one for each channel.

    `scale` is float32 and `zero` int32, both of shape [] or [channels].
    """

    element: Element
    scale: np.ndarray
    zero: np.ndarray

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest number that is stored."""
        found = np.iinfo(self.element.numpy)
        return int(found.min), int(found.max)


@dataclass(frozen=True, eq=False)
class Requantization:
    """What is stored of an int32 sum: clamp(round(float32(sum) * scale) + zero, low, high), round to nearest even.

    `scale` is float32 [channels]: (scale of x * scale of w) / scale of y, each step rounded to float32. A Relu or Clip
    between the layer and its QuantizeLinear is in `low` and `high`, since rounding never falls.
    """

    element: Element
    scale: np.ndarray
    zero: int
    low: int
    high: int
