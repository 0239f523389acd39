"""Into quads and out of them: bytes and float32 numbers, channel by channel or token by token.

A value is [batch, channels, n], or [n, channels] where its channels are its last axis (batch 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.bytes import Stored, join, split
from edgesparse.backends.cpu.kernels.math import hold, int_splat, lanes_of
from edgesparse.backends.cpu.kernels.vectors import each_vector, store_first
from edgesparse.devices.targets import Target
from edgesparse.graph.layout import Quads
from edgesparse.numerics import F32, I32, QUAD, Element


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


def to_quads(source: Tensor, axis: int, written: Tensor, target: Target) -> Call:
    """A call that stores bytes, which lie as ONNX lays them out, in quads."""
    assert isinstance(written.layout, Quads)
    flip = written.layout.flipped
    facts = Facts.of(source.shape, axis)

    def above(x: Expr) -> Expr:
        return T.bitwise_and(T.cast(x, _as("int32", x)), int_splat(255, x))

    kernel = _into(f"to_quads{'_flipped' if flip else ''}", facts, source.element, above, target, flip=flip)
    return Call(f"{source.name}/quads", "Layout", kernel, (source,), (written,))


def from_quads(stored: Tensor, axis: int, written: Tensor, target: Target) -> Call:
    """A call that lays bytes which lie in quads out as ONNX does."""
    assert isinstance(stored.layout, Quads)
    facts, flip = Facts.of(written.shape, axis), stored.layout.flipped

    def byte(above: Expr) -> Expr:
        return T.cast(above, _as(written.dtype, above))

    kernel = _out_of(f"from_quads{'_flipped' if flip else ''}", facts, written.element, byte, target, flip=flip)
    return Call(f"{written.name}/rows", "Layout", kernel, (stored,), (written,))


def quantize(facts: Facts, by: Stored, target: Target) -> Kernel:
    """Store float32 numbers in quads. Reads: x; writes: y.

    Shapes: x [batch, channels, n], or [n, channels] with `inner`; y words [batch, quads, n]. A tile is a quad of an
    image. x / scale is a division, rounded to nearest even, and NaN the lowest number, as on x86 in ONNX Runtime.
    Over-read: x, below 64 bytes.
    """
    return _into("quantize", facts, F32, by.above, target, flip=by.is_signed, also=by)


def dequantize(facts: Facts, by: Stored, target: Target) -> Kernel:
    """float32 numbers of what is stored in quads. Reads: x; writes: y; shapes as those of `quantize`, exchanged."""
    return _out_of("dequantize", facts, F32, by.real, target, flip=by.is_signed, also=by)


def _into(
    op: str,
    facts: Facts,
    of: Element,
    above: Callable[[Expr], Expr],
    target: Target,
    *,
    flip: bool,
    also: object = None,
) -> Kernel:
    lanes = target.cpu.lanes(I32)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        quad, image = T.bind(T.floormod(tile, facts.quads)), T.bind(T.floordiv(tile, facts.quads))

        def bytes_at(n: Expr | int, count: int) -> list[Expr]:
            return [_channel(above, x, facts, image, quad, place, n, Lanes(count, of)) for place in range(QUAD)]

        if facts.inner:
            with T.serial(0, facts.n) as n:
                T.buffer_store(y, join(bytes_at(n, 1), flip=flip), [tile * facts.n + n])
            return

        def vector(offset: Expr | int, valid: int) -> None:
            width = Lanes(lanes, I32).narrowed(valid).count
            store_first(y, tile * facts.n + offset, join(bytes_at(offset, width), flip=flip), valid)

        each_vector(facts.n, Lanes(lanes, I32), vector)

    params = [Param(facts.size, of), Param(facts.words, I32)]
    symbol = kernel_symbol(op, of, facts.name, target, *([also] if also else []))
    return build_kernel(symbol, params, facts.batch * facts.quads, body)


def _channel(
    above: Callable[[Expr], Expr],
    x: Buffer,
    facts: Facts,
    image: Expr,
    quad: Expr,
    place: int,
    n: Expr | int,
    lanes: Lanes,
) -> Expr:
    """How far neighbours of a channel of a quad are above the lowest byte; 0 for one that only fills the quad up."""
    channel = quad * QUAD + place
    filled = facts.channels % QUAD == 0
    there = channel if filled else T.min(channel, facts.channels - 1)
    at = n * facts.channels + there if facts.inner else (image * facts.channels + there) * facts.n + n
    value = hold(above(hold(lanes.load(x, at))))
    return value if filled else hold(T.Select(_all(channel < facts.channels, value), value, int_splat(0, value)))


def _all(condition: Expr, like: Expr) -> Expr:
    return condition if lanes_of(like) == 1 else T.broadcast(condition, lanes_of(like))


def _out_of(
    op: str,
    facts: Facts,
    of: Element,
    value: Callable[[Expr], Expr],
    target: Target,
    *,
    flip: bool,
    also: object = None,
) -> Kernel:
    lanes = target.cpu.lanes(I32)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        quad, image = T.bind(T.floormod(tile, facts.quads)), T.bind(T.floordiv(tile, facts.quads))

        def store(n: Expr | int, valid: int, width: int) -> None:
            words = hold(Lanes(width, I32).load(x, tile * facts.n + n))
            for place, above in enumerate(split(words, flip=flip)):
                channel = quad * QUAD + place
                at = n * facts.channels + channel if facts.inner else (image * facts.channels + channel) * facts.n + n
                if facts.channels % QUAD == 0:
                    store_first(y, at, hold(value(above)), valid)
                    continue
                with T.If(channel < facts.channels), T.Then():
                    store_first(y, at, hold(value(above)), valid)

        if facts.inner:
            with T.serial(0, facts.n) as n:
                store(n, 1, 1)
            return
        each_vector(
            facts.n, Lanes(lanes, I32), lambda n, valid: store(n, valid, Lanes(lanes, I32).narrowed(valid).count)
        )

    params = [Param(facts.words, I32), Param(facts.size, of)]
    symbol = kernel_symbol(op, of, facts.name, target, *([also] if also else []))
    return build_kernel(symbol, params, facts.batch * facts.quads, body)


def _as(kind: str, like: Expr) -> str:
    lanes = lanes_of(like)
    return kind if lanes == 1 else f"{kind}x{lanes}"
