"""Layers of small integers as kernel calls, and numpy as the judge of what they store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.kernels.epilogue import Epilogue, Requantized, Scaled
from edgesparse.backends.cpu.kernels.layer import LayerCall, Tiled, kernel_of
from edgesparse.backends.cpu.kernels.planes import planes
from edgesparse.devices.targets import Target
from edgesparse.forms.tile import Tile
from edgesparse.graph.geometry import Window
from edgesparse.graph.layers import Layer
from edgesparse.graph.layout import Planes, Quads
from edgesparse.graph.quads import quads_layer
from edgesparse.graph.quantized import Requantization
from edgesparse.numerics import F32, I32, QUAD, QUAD_I8, QUAD_U8, Element, Numerics, element
from edgesparse.program import Bound, Constant, IndexKind

BYTES = {QUAD_U8: "uint8", QUAD_I8: "int8"}


@dataclass(frozen=True)
class Case:
    """A convolution, or with a kernel of () a linear layer of x [N, K]."""

    x: tuple[int, ...]
    m: int
    kernel: tuple[int, int] | tuple[()] = (1, 1)
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)

    @property
    def channels(self) -> int:
        return self.x[1]

    @property
    def out(self) -> tuple[int, ...]:
        """Batch, and the shape of the output of a channel."""
        if not self.kernel:
            return 1, self.x[0]
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True)]
        sizes = zip(self.x[2:], spans, self.strides, self.pads, strict=True)
        return self.x[0], *((size + 2 * pad - span) // stride + 1 for size, span, stride, pad in sizes)

    @property
    def window(self) -> Window | None:
        if not self.kernel:
            return None
        return Window(*self.x, self.kernel, self.strides, self.dilations, self.pads, *self.out[1:])


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a case computes with: x and weights as bytes, and how sums are stored."""

    case: Case
    x: np.ndarray  # [batch, channels, ...], or [N, K]
    zero: int  # of x, as it is stored
    w: np.ndarray  # [M, C / groups, *kernel], or [K, M]
    bias: np.ndarray  # int32
    scale: np.ndarray  # float32
    stored: Requantization | Element = field(default=F32)

    @property
    def x_quad(self) -> Element:
        return QUAD_U8 if self.x.dtype == np.uint8 else QUAD_I8

    @property
    def y_quad(self) -> Element:
        if not isinstance(self.stored, Requantization):
            return self.stored
        return QUAD_U8 if self.stored.element.name == "uint8" else QUAD_I8

    @property
    def numerics(self) -> Numerics:
        return Numerics(self.x_quad, QUAD_I8, I32, self.y_quad)

    def sums(self) -> np.ndarray:
        """Exact sums [batch, M, N]."""
        case, x, w = self.case, self.x.astype(np.int64) - self.zero, self.w.astype(np.int64)
        if not case.kernel:
            return (x @ w).T[None] + self.bias[:, None]
        top, left = case.pads
        x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
        batch, height, width = case.out
        y = np.zeros((batch, case.m, height, width), np.int64)
        share, channels = case.m // case.groups, case.channels // case.groups
        for g in range(case.groups):
            part = x[:, g * channels : (g + 1) * channels]
            for i, j in np.ndindex(*case.kernel):
                (dh, dw), (sh, sw) = case.dilations, case.strides
                rows = slice(i * dh, i * dh + (height - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (width - 1) * sw + 1, sw)
                taps = w[g * share : (g + 1) * share, :, i, j]
                y[:, g * share : (g + 1) * share] += np.einsum("mc,bchw->bmhw", taps, part[:, :, rows, columns])
        return (y + self.bias[:, None, None]).reshape(batch, case.m, -1)

    def expected(self) -> np.ndarray:
        """What is stored: [batch, M, N], by the rule of `Requantization`."""
        sums = self.sums()
        assert np.abs(sums).max() < 1 << 31
        if self.stored == I32:
            return sums.astype(np.int32)
        real = sums.astype(np.int32).astype(np.float32) * self.scale[:, None]
        if not isinstance(self.stored, Requantization):
            return real
        rounded = np.rint(real).astype(np.float64) + self.stored.zero
        return np.clip(rounded, self.stored.low, self.stored.high).astype(self.stored.element.numpy)

    def layer(self) -> Layer:
        out = self.case.out
        x = ir.Value(name="x", shape=ir.Shape(self.x.shape), type=ir.TensorType(ir.DataType.FLOAT))
        shape = (out[0], self.case.m, *out[1:]) if self.case.kernel else (out[1], self.case.m)
        y = ir.Value(name="y", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        node = ir.Node("", "Conv" if self.case.kernel else "MatMul", [x], outputs=[y], name="layer")
        found = quads_layer(node, self.case.window, self.w, self.numerics)
        assert found is not None
        return found

    def folded(self) -> np.ndarray:
        """The bias with what the zero point of x contributes."""
        w = self.w.astype(np.int64)
        each = w.sum(axis=0) if not self.case.kernel else w.reshape(len(w), -1).sum(axis=1)
        return (self.bias - self.zero * each).astype(np.int32)

    def quads(self) -> np.ndarray:
        """x as words [batch, quads, N]; what fills the last one up is not zero."""
        x = self.x.T[None] if not self.case.kernel else self.x.reshape(*self.x.shape[:2], -1)
        filled = np.pad(x, ((0, 0), (0, -x.shape[1] % QUAD), (0, 0)), constant_values=77)
        batch, channels, n = filled.shape
        cut = filled.reshape(batch, channels // QUAD, QUAD, n).transpose(0, 1, 3, 2)
        return np.ascontiguousarray(cut).view(np.int32).reshape(batch, -1, n)

    def epilogue(self) -> Epilogue:
        if isinstance(self.stored, Requantization):
            return Requantized.to(self.stored)
        return Scaled() if self.stored == F32 else Epilogue()


def arrays(case: Case, x: str = "uint8", y: str = "uint8", density: float = 1.0, seed: int = 0, **more: Any) -> Arrays:
    """Random bytes, `density` of the words of weights not zero; `y` is what is stored, "float32" and "int32" too."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(x)
    values = rng.integers(limits.min, limits.max + 1, case.x).astype(x)
    channels = case.channels // case.groups
    words = -(-channels // QUAD)
    taps = case.kernel or (1,)
    w = rng.integers(-127, 128, (case.m, words * QUAD, *taps)).astype(np.int8)
    kept = rng.random((case.m, words, 1, *taps)) < density
    w = (w.reshape(case.m, words, QUAD, *taps) * kept).reshape(w.shape)[:, :channels].astype(np.int8)
    if density < 1:
        w[case.m // 2] = 0  # an empty row
    if not case.kernel:
        w = np.ascontiguousarray(w[:, :, 0].T)
    bias = rng.integers(-4000, 4000, case.m).astype(np.int32)
    spread = max(np.sqrt(max(density, 0.05) * channels * np.prod(taps)) * 127 * 73, 1)
    scale = (rng.uniform(0.3, 3, case.m) * 60 / spread).astype(np.float32)
    zero = int(rng.integers(limits.min, limits.max + 1))
    stored: Requantization | Element = element(y)
    if y in ("uint8", "int8"):
        low, high = np.iinfo(y).min, np.iinfo(y).max
        settings = {"zero": int(rng.integers(low, high + 1)), "low": int(low), "high": int(high)} | more
        stored = Requantization(element(y), scale, **settings)
    return Arrays(case, values, zero, w, bias, scale, stored)


def call_of(given: Arrays, tile: Tile, target: Target, name: str = "") -> tuple[list[Call], Tensor]:
    """The calls that compute a case with a tile, and what they write; x is the feed NAMEx."""
    layer, epilogue, plane = given.layer(), given.epilogue(), given.layer().plane
    words = given.quads()
    x = Tensor(f"{name}x", words.shape, given.x_quad, Quads(1, False))
    calls = []
    if tile.reads_window and layer.window is not None:
        laid = Tensor(x.name, (plane.x_size + plane.width,), x.element, Planes(layer.window))
        fill = int.from_bytes(bytes([given.zero & 0xFF] * QUAD), "little", signed=True)
        calls.append(Call("planes", "Pad", planes(layer.window, x.element, target, fill=fill), (x,), (laid,)))
        x = laid
    weights = tile.pack(layer, given.folded(), target.cpu)
    scales = (tile.per_channel(layer, given.scale, target.cpu),) if epilogue.is_scaled else ()
    offsets = Constant(layer.offsets, Bound(IndexKind.INDEX, "int32", int(layer.offsets.max()) + 1))
    y_rows = plane.groups * -(-plane.m // given.y_quad.channels)
    y = Tensor(f"{name}y", (plane.batch, y_rows, plane.n), given.y_quad, Quads(1, False))
    kernel = kernel_of(LayerCall(layer, tile, weights, epilogue, target, Tiled(), None))
    reads = (x, *((offsets,) if tile.reads_window else ()), *weights, *scales)
    return [*calls, Call("layer", "Conv", kernel, reads, (y,))], y


def rows_of(given: Arrays, stored: np.ndarray) -> np.ndarray:
    """What a call stored as [batch, M, N], after a look at what fills the last quads up."""
    if given.y_quad not in BYTES:
        return stored.reshape(stored.shape[0], given.case.m, -1)
    batch, quads, n = stored.shape
    flat = np.ascontiguousarray(stored).view(BYTES[given.y_quad]).reshape(batch, quads, n, QUAD)
    rows = flat.transpose(0, 1, 3, 2).reshape(batch, quads * QUAD, n)
    assert not rows[:, given.case.m :].any(), "bytes that mean nothing are not zero"
    return rows[:, : given.case.m]
