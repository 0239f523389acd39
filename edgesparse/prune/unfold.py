"""What a weighted layer multiplies with: its inputs as rows x[K], a row for each output position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

POSITIONS = 1 << 16
POSITIONS_PER_INPUT = 64
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Sampling:
    """Which positions of the calibration samples to look at, the same ones whenever asked.

    Neighbouring positions tell much the same, and second moments of K inputs need only some multiple of K: over all
    `samples`, at most POSITIONS are used, or POSITIONS_PER_INPUT for each input if that is more, evenly spread over a
    sample and shifted from one to the next.
    """

    samples: int
    first: int = 0  # of the samples at hand
    batch: int = 1  # how many they are

    def choose(self, available: int, k: int, *, sample: int | None = None) -> np.ndarray | None:
        """Of the `available` positions of one sample at hand, or of all, those to look at; None for every one."""
        share = self.batch if sample is None else 1
        wanted = -(-max(POSITIONS, POSITIONS_PER_INPUT * k) * share // self.samples)
        if available <= wanted:
            return None
        shift = (self.first + (sample or 0)) * GOLDEN % 1.0
        return ((np.arange(wanted) + shift) * (available / wanted)).astype(np.int64)


@dataclass(frozen=True)
class Convolution:
    """Geometry of a convolution over any number of spatial axes; pads are before and after each."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int = 1
    pad_mode: Literal["constant", "reflect", "edge", "wrap"] = "constant"  # as numpy.pad calls them

    @property
    def channels(self) -> int:
        """The axis of the outputs that the rows of w make."""
        return 1

    def inputs(self, x: np.ndarray) -> int:
        """Channels of x [B, C, *spatial]."""
        return int(x.shape[1])

    def inputs_of(self, k: int) -> int:
        """Channels of an input that gives rows of `k`."""
        return k // prod(self.kernel) * self.groups

    def windows(self, x: np.ndarray) -> np.ndarray:
        """A view of every window.

        Shapes: x [B, C, *spatial], the result [B, *positions, C, *kernel].
        """
        rank = len(self.kernel)
        if any(pad != (0, 0) for pad in self.pads):
            x = np.pad(x, [(0, 0), (0, 0), *self.pads], mode=self.pad_mode)
        spans = [(size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True)]
        view = sliding_window_view(x, spans, axis=tuple(range(2, 2 + rank)))
        view = view[(slice(None), slice(None), *(slice(None, None, step) for step in (*self.strides, *self.dilations)))]
        return np.moveaxis(view, 1, rank + 1)

    def rows(self, x: np.ndarray, sampling: Sampling) -> np.ndarray:
        """Inputs of each output position.

        Shapes: x [B, C, *spatial], the result [groups, P, C / groups * kernel].
        """
        windows, rank = self.windows(x), len(self.kernel)
        k = prod(windows.shape[1 + rank :]) // self.groups
        return self._chosen(windows, k, sampling).reshape(-1, self.groups, k).swapaxes(0, 1)

    def outputs(self, y: np.ndarray, k: int, sampling: Sampling) -> np.ndarray:
        """Outputs at the positions whose inputs `rows` gives, for rows of `k`.

        Shapes: y [B, M, *positions], the result [groups, P, M / groups].
        """
        channels = y.shape[1] // self.groups
        chosen = self._chosen(np.moveaxis(y, 1, -1), k, sampling)
        return chosen.reshape(-1, self.groups, channels).swapaxes(0, 1)

    def _chosen(self, every: np.ndarray, k: int, sampling: Sampling) -> np.ndarray:
        """Of [B, *positions, ...] those that are looked at, of all samples one after another."""
        places = every.shape[1 : 1 + len(self.kernel)]
        chosen = [sampling.choose(prod(places), k, sample=at) for at in range(len(every))]
        if not chosen or chosen[0] is None:
            return every
        sample = np.repeat(np.arange(len(every)), len(chosen[0]))
        flat = np.concatenate([index for index in chosen if index is not None])
        looked_at: np.ndarray = every[(sample, *np.unravel_index(flat, places))]
        return looked_at


@dataclass(frozen=True)
class Transposed(Convolution):
    """Geometry of a transposed convolution: a convolution of stride 1 over inputs that lie `strides` apart.

    `pads` are the outputs that are left out before and after each axis; those after are below zero where more come in.
    """

    def windows(self, x: np.ndarray) -> np.ndarray:
        """What each output sums over, turned around since the first place of the window reaches the first output."""
        rank = len(self.kernel)
        sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], self.strides, strict=True)]
        apart = np.zeros((*x.shape[:2], *sizes), x.dtype)
        apart[(slice(None), slice(None), *(slice(None, None, step) for step in self.strides))] = x
        reach = [(size - 1) * dilation for size, dilation in zip(self.kernel, self.dilations, strict=True)]
        around = [(far - first, far - last) for far, (first, last) in zip(reach, self.pads, strict=True)]
        inner = [slice(max(-first, 0), size - max(-last, 0)) for (first, last), size in zip(around, sizes, strict=True)]
        pads = tuple((max(first, 0), max(last, 0)) for first, last in around)
        plain = Convolution(self.kernel, (1,) * rank, self.dilations, pads)
        return np.flip(plain.windows(apart[(slice(None), slice(None), *inner)]), axis=tuple(range(-rank, 0)))


@dataclass(frozen=True)
class Product:
    """Geometry of w @ x: `batch` are the leading axes of w, `columns` says that K is the last axis but one of x."""

    batch: tuple[int, ...] = ()
    columns: bool = False

    @property
    def channels(self) -> int:
        """The axis of the outputs that the rows of w make."""
        return -2 if self.columns else -1

    def inputs(self, x: np.ndarray) -> int:
        """Inputs in each row or column of x."""
        return int(x.shape[-2 if self.columns and x.ndim > 1 else -1])

    def inputs_of(self, k: int) -> int:
        """As many as a weight takes."""
        return k

    def rows(self, x: np.ndarray, sampling: Sampling) -> np.ndarray:
        """Inputs of each output position.

        Shapes: x [..., P, K], or [..., K, P] with `columns`; the result [G, P', K], G counting `batch`.
        """
        return self._chosen(x, self.inputs(x), sampling)

    def outputs(self, y: np.ndarray, k: int, sampling: Sampling) -> np.ndarray:
        """Outputs at the positions whose inputs `rows` gives, for rows of `k`.

        Shapes: y [..., P, M], or [..., M, P] with `columns`; the result [G, P', M].
        """
        return self._chosen(y, k, sampling)

    def _chosen(self, x: np.ndarray, k: int, sampling: Sampling) -> np.ndarray:
        x = x[None] if x.ndim == 1 else x.swapaxes(-1, -2) if self.columns else x
        x = np.broadcast_to(x, (*np.broadcast_shapes(x.shape[:-2], self.batch), *x.shape[-2:]))
        groups = prod(self.batch)
        repeats, (positions, k_size) = prod(x.shape[:-2]) // groups, x.shape[-2:]
        apart = x.reshape(repeats, groups, positions, k_size).swapaxes(0, 1)
        rows = apart.reshape(groups, repeats * positions, k_size)
        chosen = sampling.choose(rows.shape[1], k)
        return rows if chosen is None else rows[:, chosen]


Geometry = Convolution | Product


def same_pads(sizes: Sequence[int], conv: Convolution, *, upper: bool) -> tuple[tuple[int, int], ...]:
    """Pads of ONNX's auto_pad SAME_UPPER or SAME_LOWER for an input of `sizes`."""
    pads = []
    for size, kernel, stride, dilation in zip(sizes, conv.kernel, conv.strides, conv.dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        pads.append((total // 2, total - total // 2) if upper else (total - total // 2, total // 2))
    return tuple(pads)
