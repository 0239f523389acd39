"""Geometry of weighted layers: how a convolution or linear layer becomes y[M, N] = w[M, K] @ x[K, N].

Counts and strides are elements. Nothing here knows a target or a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """A 2-D convolution window over images [batch, channels, height, width]; 1-D uses height 1."""

    batch: int
    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]  # rows above, columns to the left
    out_height: int
    out_width: int

    @property
    def is_pointwise(self) -> bool:
        """Every output reads the input at its own position: no padding, no phases needed."""
        same = (self.out_height, self.out_width) == (self.height, self.width)
        return self.kernel == (1, 1) and self.strides == (1, 1) and self.pads == (0, 0) and same

    @property
    def name(self) -> str:
        """A word for it, such as 3x3_c64."""
        return "{}x{}_c{}".format(*self.kernel, self.channels)

    @property
    def _taps(self) -> list[tuple[int, int]]:
        """Row and column of each tap, dilation applied, in row-major order of the window."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return [(i * dh, j * dw) for i in range(kh) for j in range(kw)]

    @property
    def phase_axes(self) -> tuple[list[int], list[int]]:
        """The phases of rows and of columns that some tap reads, ascending."""
        (kh, kw), (dh, dw), (sh, sw) = self.kernel, self.dilations, self.strides
        return sorted({i * dh % sh for i in range(kh)}), sorted({j * dw % sw for j in range(kw)})

    @property
    def phases(self) -> list[tuple[int, int]]:
        """Every pair of a row phase and a column phase, in the order of the planes."""
        rows, columns = self.phase_axes
        return [(row, column) for row in rows for column in columns]

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of every phase plane."""
        sh, sw = self.strides
        rows = max(r // sh for r, _ in self._taps) + self.out_height
        return rows, max(c // sw for _, c in self._taps) + self.out_width

    @property
    def channel_size(self) -> int:
        """Elements of all the phase planes of a channel."""
        height, width = self.plane
        return len(self.phases) * height * width

    def offsets(self, channels: int) -> np.ndarray:
        """Element offset of each k = (channel, tap) of a group of `channels`, as int32."""
        sh, sw = self.strides
        height, pitch = self.plane
        taps = [(self.phases.index((r % sh, c % sw)) * height + r // sh) * pitch + c // sw for r, c in self._taps]
        offsets = np.arange(channels)[:, None] * self.channel_size + np.array(taps)
        return np.asarray(offsets.ravel(), np.int32)


@dataclass(frozen=True)
class Plane:
    """Geometry of one layer; counts are elements.

    An output position (row, column) reads x at row * pitch + column, plus the offset of k, plus the strides
    of its image and group.
    """

    batch: int
    groups: int
    m: int  # output channels a group
    k: int  # input channels a group times window
    height: int
    width: int
    pitch: int
    x_size: int
    x_batch_stride: int
    x_group_stride: int

    @property
    def n(self) -> int:
        """Output positions of one image."""
        return self.height * self.width

    @property
    def name(self) -> str:
        """A word for its size."""
        return f"m{self.m}k{self.k}n{self.n}"
