"""Bytes into quads and out of them, as they are or with the highest bit flipped: channel by channel or token by token.

A value is [batch, channels, n], or [n, channels] where its channels are its last axis (batch 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.bytes import flipped, join
from edgesparse.backends.cpu.kernels.math import hold, int_splat, lanes_of
from edgesparse.backends.cpu.kernels.narrowing import transposed_quads
from edgesparse.backends.cpu.kernels.vectors import each_vector, pick, store_first
from edgesparse.devices.targets import Target
from edgesparse.graph.layout import Quads
from edgesparse.numerics import I32, QUAD, Element

Store = Callable[[Expr | int, Lanes, int], None]


@dataclass(frozen=True)
class Facts:
    """Sizes of a value in quads; `inner` says that its channels are its last axis."""

    batch: int
    channels: int
    n: int
    inner: bool

    @classmethod
    def of(cls, shape: Sequence[int], axis: int) -> Facts:
        """Of a value whose channels are those of an axis."""
        if axis == len(shape) - 1:
            return cls(1, shape[-1], prod(shape[:-1]), inner=True)
        return cls(shape[0], shape[1], prod(shape[2:]), inner=False)

    @property
    def quads(self) -> int:
        """Of channels, the last filled up."""
        return -(-self.channels // QUAD)

    @property
    def words(self) -> int:
        """Of all images."""
        return self.batch * self.quads * self.n

    @property
    def size(self) -> int:
        """Elements of the value."""
        return self.batch * self.channels * self.n

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of its words."""
        return self.batch, self.quads, self.n

    @property
    def name(self) -> str:
        """A word for the sizes."""
        return f"{'t' if self.inner else 'b'}{self.batch}c{self.channels}n{self.n}"


def same_channels(shape: Sequence[int], axis: int, new: Sequence[int]) -> int | None:
    """The axis of a value of another shape, with its elements in the same order, whose quads are those of the channels
    of `axis`; None where there is none."""
    facts = Facts.of(shape, axis)
    for candidate in dict.fromkeys((len(new) - 1, 1)):
        if 0 <= candidate < len(new):
            found = Facts.of(new, candidate)
            if found == facts or (found.shape == facts.shape and found.size == facts.channels == facts.size):
                return candidate
    return None


def quads_of(array: np.ndarray, axis: int, *, flip: bool) -> np.ndarray:
    """The words [batch, quads, n] of an array of bytes; bytes of channels that fill up the last quad are 0."""
    facts = Facts.of(array.shape, axis)
    found = array.view(np.uint8)
    found = found.reshape(facts.n, facts.channels).T[None] if facts.inner else found.reshape(facts.batch, -1, facts.n)
    found = np.pad(found ^ np.uint8(0x80 if flip else 0), ((0, 0), (0, -facts.channels % QUAD), (0, 0)))
    by_word = found.reshape(facts.batch, facts.quads, QUAD, facts.n).swapaxes(2, 3)
    return np.ascontiguousarray(by_word).view("<i4").astype(np.int32).reshape(facts.shape)


@dataclass(frozen=True)
class QuadPlaces:
    """Where the channels of the quad of a tile lie in rows, or in tokens."""

    facts: Facts
    quad: Expr
    image: Expr

    @classmethod
    def of(cls, facts: Facts, tile: Expr) -> QuadPlaces:
        """Those of a tile, which is a quad of an image."""
        return cls(facts, T.bind(T.floormod(tile, facts.quads)), T.bind(T.floordiv(tile, facts.quads)))

    def at(self, c: int, n: Expr | int, *, clamped: bool = False) -> Expr:
        """Position n of channel c; if it is `clamped`, of the last channel where there is no such."""
        facts, channel = self.facts, self.quad * QUAD + c
        if clamped and facts.channels % QUAD:
            channel = T.min(channel, facts.channels - 1)
        if facts.inner:
            return T.bind(n * facts.channels + channel)
        return T.bind((self.image * facts.channels + channel) * facts.n + n)

    def store(self, y: Buffer, c: int, n: Expr | int, row: Expr, valid: int) -> None:
        """Store the first of some neighbours from position n of channel c on, if there is such a channel."""
        if self.facts.channels % QUAD == 0:
            store_first(y, self.at(c, n), row, valid)
            return
        with T.If(self.quad * QUAD + c < self.facts.channels), T.Then():
            store_first(y, self.at(c, n), row, valid)


def to_quads(source: Tensor, axis: int, written: Tensor, target: Target) -> Call:
    """A call that stores bytes, which lie as ONNX lays them out, in quads."""
    assert isinstance(written.layout, Quads)
    kernel = into_quads(Facts.of(source.shape, axis), source.element, target, flip=written.layout.flipped)
    return Call(f"{source.name}/quads", "Layout", kernel, (source,), (written,))


def from_quads(stored: Tensor, axis: int, written: Tensor, target: Target) -> Call:
    """A call that lays bytes which lie in quads out as ONNX does."""
    assert isinstance(stored.layout, Quads)
    kernel = out_of_quads(Facts.of(written.shape, axis), written.element, target, flip=stored.layout.flipped)
    return Call(f"{written.name}/rows", "Layout", kernel, (stored,), (written,))


def into_quads(facts: Facts, of: Element, target: Target, *, flip: bool) -> Kernel:
    """Store bytes in quads. Reads: x; writes: y.

    Shapes: x bytes [batch, channels, n], or [n, channels] with `inner`; y words [batch, quads, n]. A tile is a quad of
    an image. The last channel fills the last quad up. Over-read: x, below 64 bytes.
    """
    lanes = Lanes(target.cpu.lanes(I32), I32)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        places = QuadPlaces.of(facts, tile)

        def store(n: Expr | int, part: Lanes, valid: int) -> None:
            bytes_of = Lanes(part.count, of)
            channels = [hold(bytes_of.load(x, places.at(c, n, clamped=True))) for c in range(QUAD)]
            store_first(y, tile * facts.n + n, flipped(_interleaved(channels), flip=flip), valid)

        each_position(facts, lanes, store)

    params = [Param(facts.size, of), Param(facts.words, I32)]
    symbol = kernel_symbol(f"to_quads{'_flipped' if flip else ''}", of, facts.name, target)
    return build_kernel(symbol, params, facts.batch * facts.quads, body)


def out_of_quads(facts: Facts, of: Element, target: Target, *, flip: bool) -> Kernel:
    """Take bytes out of quads. Reads: x; writes: y; shapes as those of `into_quads`, exchanged."""
    lanes = Lanes(target.cpu.lanes(I32), I32)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        places = QuadPlaces.of(facts, tile)

        def store(n: Expr | int, part: Lanes, valid: int) -> None:
            words = flipped(hold(part.load(x, tile * facts.n + n)), flip=flip)
            for c, row in enumerate(_separated(words, of)):
                places.store(y, c, n, row, valid)

        each_position(facts, lanes, store)

    params = [Param(facts.words, I32), Param(facts.size, of)]
    symbol = kernel_symbol(f"from_quads{'_flipped' if flip else ''}", of, facts.name, target)
    return build_kernel(symbol, params, facts.batch * facts.quads, body)


def each_position(facts: Facts, lanes: Lanes, store: Store) -> None:
    """Emit `store(n, part, valid)` for vectors of positions; for tokens one by one, whose channels lie apart."""
    if facts.inner:
        with T.serial(0, facts.n) as n:
            store(n, lanes.narrowed(1), 1)
    else:
        each_vector(facts.n, lanes, lambda n, valid: store(n, lanes.narrowed(valid), valid), unroll=1)


def _interleaved(channels: Sequence[Expr]) -> Expr:
    """Words of the bytes of four channels."""
    lanes = lanes_of(channels[0])
    if lanes < QUAD:
        return _joined(channels)
    side_by_side = T.reinterpret(f"int32x{lanes}", pick(channels, range(QUAD * lanes)))
    blocks = pick([side_by_side], [k * (lanes // QUAD) + j for j in range(lanes // QUAD) for k in range(QUAD)])
    return transposed_quads(blocks)


def _joined(channels: Sequence[Expr]) -> Expr:
    lanes = lanes_of(channels[0])
    wide = [T.cast(channel, "int32" if lanes == 1 else f"int32x{lanes}") for channel in channels]
    return join([T.bitwise_and(each, int_splat(0xFF, each)) for each in wide])


def _separated(words: Expr, of: Element) -> list[Expr]:
    """The bytes of each of the four channels of words."""
    lanes = lanes_of(words)
    if lanes < QUAD:
        kind = of.name if lanes == 1 else f"{of.name}x{lanes}"
        return [hold(T.cast(T.shift_right(words, int_splat(8 * c, words)), kind)) for c in range(QUAD)]
    blocks = transposed_quads(words)
    rows = pick([blocks], [j * QUAD + k for k in range(QUAD) for j in range(lanes // QUAD)])
    flat = hold(T.reinterpret(f"{of.name}x{QUAD * lanes}", rows))
    return [pick([flat], range(k * lanes, (k + 1) * lanes)) for k in range(QUAD)]
