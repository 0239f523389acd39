"""What a kernel is, and the small builder that every kernel family writes its TIR with.

A kernel is a plain C function `f(p0, ..., pn, begin, end)`: one pointer for each argument, then a range of
tiles. The range is the unit of parallelism: calls over disjoint ranges may run at the same time. One that may refuse
what it reads has a last pointer, to the record that says what it found (`FAULT_FIELDS`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tvm.ir import PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import Buffer, Expr, PrimFunc, const
from tvm.tirx.script import builder as T

from edgesparse.devices.targets import Target
from edgesparse.graph.layout import ROWS, Layout, Within
from edgesparse.numerics import Element, Numerics
from edgesparse.program import FAULT_FIELDS, Constant, FaultKind

ALIGNMENT_BYTES = 64  # of every argument; kernels may rely on it

Memory = tuple[str, Layout]
"""A value in one of its layouts."""


@dataclass(frozen=True)
class Param:
    """One pointer parameter: a flat array that the kernel reads or writes."""

    size: int
    element: Element

    @property
    def size_bytes(self) -> int:
        """Bytes."""
        return self.size * self.element.size_bytes


@dataclass(frozen=True, eq=False)
class Kernel:
    """A TIR function with its calling facts.

    `func` takes the reads, then the writes, then (when `scratch_bytes` > 0) a private scratch area, then
    `begin` and `end`, then (when it `fails`) the record of the fault. `inplace` lists pairs (read, write) of parameter
    numbers that may share memory.
    """

    symbol: str
    func: PrimFunc
    tiles: int
    scratch_bytes: int = 0
    inplace: tuple[tuple[int, int], ...] = ()
    fails: bool = False

    @property
    def arguments(self) -> int:
        """Pointers that a step hands over: reads, writes and scratch."""
        return len(self.func.params) - (3 if self.fails else 2)


@dataclass(frozen=True)
class Tensor:
    """A value in the arena, dense, in some layout; it may be seen in another shape than that of the layout."""

    name: str
    shape: tuple[int, ...]
    element: Element
    layout: Layout = ROWS

    @property
    def memory(self) -> Memory:
        """What tells it from other memory: two tensors of one memory are the same bytes."""
        return self.name, self.layout

    def within(self, place: str, shape: tuple[int, ...], element: Element) -> Tensor:
        """What lies between two kernels of the operator that computes this value."""
        outer = self.layout.path if isinstance(self.layout, Within) else ()
        return Tensor(self.name, shape, element, Within((*outer, place)))

    @property
    def dtype(self) -> str:
        """The name of the type, as TVM and numpy say it."""
        return self.element.name

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size_bytes(self) -> int:
        """Bytes."""
        return self.size * self.element.size_bytes


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel call on named values: what the memory planner and the packer see."""

    name: str  # ONNX node name of the layer
    op: str  # such as "Conv+Relu"
    kernel: Kernel
    reads: tuple[Tensor | Constant, ...]
    writes: tuple[Tensor, ...]


@contextmanager
def _function(symbol: str) -> Iterator[IRBuilder]:
    with IRBuilder() as builder, T.prim_func():
        T.func_name(symbol)
        T.func_attr({"global_symbol": symbol, "tirx.noalias": True, "calling_conv": -1})
        yield builder


def build_kernel(
    symbol: str,
    params: Sequence[Param],
    tiles: int,
    body: Callable[..., None],
    *,
    scratch: Param | None = None,
    inplace: tuple[tuple[int, int], ...] = (),
    fails: bool = False,
) -> Kernel:
    """Make a kernel by running `body(tile, *buffers)` once for the loop over tiles.

    `body` emits TIR through `T` (tvm.tirx.script.builder); the scratch buffer, if any, comes last, and then, if the
    kernel `fails`, the record that `refuse` fills in.
    """
    every = [*params, scratch] if scratch else list(params)
    with _function(symbol) as builder:
        if fails:
            T.func_ret(PrimType("int32"))
        pointers = [T.arg(f"p{i}", T.handle(p.element.name)) for i, p in enumerate(every)]
        begin, end = T.arg("begin", T.int32()), T.arg("end", T.int32())
        record = [T.arg("fault", T.handle("int64"))] if fails else []
        buffers = [
            T.decl_buffer((max(p.size, 1),), p.element.name, data=pointer, align=ALIGNMENT_BYTES)
            for p, pointer in zip(every, pointers, strict=True)
        ]
        fault = [T.decl_buffer((len(FAULT_FIELDS),), "int64", data=pointer, align=8) for pointer in record]
        with T.serial(begin, end) as tile:
            body(tile, *buffers, *fault)
        if fails:
            T.Return(const(0, "int32"))
    return Kernel(symbol, builder.get(), tiles, scratch.size_bytes if scratch else 0, inplace, fails)


def refuse(
    fault: Buffer, kind: FaultKind, operand: int, element: Expr | int, found: Expr, limits: tuple[Expr, Expr]
) -> None:
    """Emit the end of a kernel that fails: say what it found, and leave.

    Of several wrong values in a tile, a kernel refuses the one of the lowest element; its tiles ascend in elements.

    Args:
        fault: the last buffer of the body.
        operand: number of the kernel's parameter.
        found: the value of the element.
        limits: the lowest and the highest value that is allowed.
    """
    number = "float64" if kind == FaultKind.FLOAT else "int64"
    held = [T.cast(value, number) for value in (found, *limits)]
    values = [kind, operand, element, *(T.reinterpret("int64", v) if kind == FaultKind.FLOAT else v for v in held)]
    for place, value in enumerate(values):
        T.buffer_store(fault, T.cast(value, "int64"), [place])
    T.Return(const(0, "int32"))  # TVM knows no other return; the entry point looks whether a kind was stored


@dataclass(frozen=True)
class Lanes:
    """Vector access: `count` consecutive elements of a buffer from an offset."""

    count: int
    element: Element

    def load(self, buffer: Buffer, offset: Expr | int) -> Expr:
        """The `count` elements from `offset`."""
        if self.count == 1:
            return buffer[offset]
        return buffer[T.ramp(offset, 1, self.count)]

    def store(self, buffer: Buffer, offset: Expr | int, value: Expr) -> None:
        """Write `count` elements from `offset`."""
        index = offset if self.count == 1 else T.ramp(offset, 1, self.count)
        T.buffer_store(buffer, value, [index])

    def narrowed(self, count: int) -> Lanes:
        """The narrowest vector that holds `count` elements, and is not wider."""
        return Lanes(vector_width(count, self.count), self.element)

    def splat(self, value: Expr | float) -> Expr:
        """A scalar in every lane."""
        scalar = self.scalar(value) if isinstance(value, int | float) else value
        return scalar if self.count == 1 else T.broadcast(scalar, self.count)

    def scalar(self, value: float) -> Expr:
        """A number of the type that sums are kept in."""
        return const(value, self.element.accumulator)

    def sums(self, size: int | None = None) -> Buffer:
        """Registers for `size` sums, by default one in each lane."""
        return T.alloc_buffer((self.count if size is None else size,), self.element.accumulator, scope="global")


def vector_width(count: int, lanes: int) -> int:
    """Lanes of the narrowest vector that holds `count` elements, at most `lanes`; both powers of two."""
    return min(lanes, 1 << max(count - 1, 0).bit_length())


def kernel_symbol(op: str, numerics: Element | Numerics, shape: str, target: Target | None, *facts: object) -> str:
    """The one name of a kernel: `es_<op>_<numerics>_<shape>__<target>`; kernels that differ in anything differ in it.

    Args:
        shape: what of its format, sizes and tile makes a word, such as sparse4x1_m64k576n196_u4k128.
        target: what the code is made for; None where it is the same for all.
        facts: all that fits no word: a digest follows. `repr` of each must be stable.
    """
    words = [word for word in ("es", op, str(numerics), shape) if word]
    digest = [hashlib.sha256(repr((numerics, *facts)).encode()).hexdigest()[:8]] if facts else []
    return re.sub(r"\W", "_", "_".join([*words, "", target.name if target else "any", *digest]))
