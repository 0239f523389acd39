"""Where each ONNX value lives while the graph is lowered, and in which order of its axes.

A kernel asks for a value in the order it wants: ONNX's own (`rows`), [F, N] for a linear layer (`columns`), or bytes
by four channels (`quads`).
Transpose and Reshape nodes emit nothing; they only say how one value names the axes of another. A transposition
is emitted when somebody asks for an order that no memory holds, once.

An order lists axes from the slowest to the fastest, axes of size 1 left out: they do not move memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call, Memory, Tensor
from edgesparse.backends.cpu.kernels.copy import transpose_copy
from edgesparse.backends.cpu.kernels.quads_layout import Facts, from_quads, quads_of, same_channels, to_quads
from edgesparse.backends.cpu.kernels.transpose import transpose
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.devices.targets import Target
from edgesparse.errors import InternalError
from edgesparse.graph.integer import flipped
from edgesparse.graph.layout import ROWS, Layout, Ordered, Quads, Within
from edgesparse.nodes import dtype_of, shape_of
from edgesparse.numerics import TAKEN, Element
from edgesparse.program import Constant

Order = tuple[int, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Origin:
    """A value that is another one with its axes named anew.

    `pairs` match runs of axes: the memory of run `source` is the memory of run `view`, split another way.
    """

    source: Tensor
    pairs: tuple[tuple[Order, Order], ...]

    def to_source(self, order: Order) -> Order | None:
        """The order of the source that is `order` of the view; None where that cuts a run."""
        return _relabel(order, [(view, source) for source, view in self.pairs])

    def to_view(self, order: Order) -> Order | None:
        """The order of the view that is `order` of the source."""
        return _relabel(order, list(self.pairs))


@dataclass(frozen=True)
class _InQuads:
    """The memory of a value whose channels, those of `axis`, lie by four; that of another value where it is a view."""

    memory: Tensor
    axis: int


class Scope:
    """Tensors by value, and the calls emitted so far."""

    def __init__(self, inputs: Sequence[ir.Value], target: Target) -> None:
        self.target = target
        self.calls: list[Call] = []
        self._stored: dict[str, dict[Order, Tensor]] = {}
        self._origins: dict[str, _Origin] = {}
        self._written: dict[Memory, Tensor] = {}
        self._quads: dict[str, _InQuads] = {}  # what lies in quads alone, or there first
        for value in inputs:
            self.write_rows(value)

    def emit(self, calls: Sequence[Call]) -> None:
        """Append calls that name their tensors by ONNX value, in ONNX's order, and make their writes known."""
        for call in calls:
            reads = tuple(self._hold(r, _rows(r.shape)) if _is_value(r) else r for r in call.reads)
            self.emit_stored(replace(call, reads=reads))
            for write in filter(_is_value, call.writes):
                self._stored.setdefault(write.name, {})[_rows(write.shape)] = write

    def emit_stored(self, call: Call) -> None:
        """Append a call whose tensors this scope handed out."""
        self.calls.append(call)
        self._written |= {write.memory: write for write in call.writes}

    def is_written(self, stored: Tensor) -> bool:
        """Some call emitted so far writes this tensor."""
        return stored.memory in self._written

    def written(self, value: ir.Value, layout: Layout) -> Tensor:
        """The memory of a value in a layout in which some call has written it."""
        return self._written[str(value.name), layout]

    def rows(self, value: ir.Value) -> Tensor | Constant:
        """The value as ONNX lays it out."""
        return self.ordered(value, range(len(shape_of(value))))

    def columns(self, value: ir.Value) -> Tensor | Constant:
        """The value [..., F], seen as [N, F], stored as [F, N]."""
        last = len(shape_of(value)) - 1
        return self.ordered(value, (last, *range(last)))

    def ordered(self, value: ir.Value, axes: Sequence[int]) -> Tensor | Constant:
        """The value with its axes in an order, the slowest first."""
        array = constant(value)
        if array is not None:
            return Constant(np.ascontiguousarray(array.transpose(tuple(axes))))
        return self._hold(tensor(value), _order(tensor(value).shape, axes))

    def holds_columns(self, value: ir.Value) -> bool:
        """Memory holds the value as [F, N] already."""
        return constant(value) is None and self._find(tensor(value), _columns(tensor(value).shape)) is not None

    def held_quads(self, value: ir.Value, axis: int) -> Tensor | Constant:
        """The same as `quads`, or of a constant."""
        array = constant(value)
        if array is None:
            return self.quads(value, axis)
        return Constant(quads_of(array, axis, flip=flipped(dtype_of(value), self.dotted)))

    def quads(self, value: ir.Value, axis: int) -> Tensor:
        """The bytes of a computed value by four of its channels, which are those of `axis`; converted where no memory
        holds them so."""
        stored = self._quads.get(str(value.name))
        if stored is not None and stored.axis == axis:
            return stored.memory
        source = self.rows(value)
        written = self.write_quads(value, axis)
        assert isinstance(source, Tensor)
        self.emit_stored(to_quads(source, axis, written, self.target))
        return written

    def quads_axis(self, value: ir.Value) -> int:
        """The axis of the channels that a value has in quads, or would best have."""
        stored = self._quads.get(str(value.name))
        if stored is not None:
            return stored.axis
        rank = len(shape_of(value))
        return 1 if rank > 3 else rank - 1

    def holds_quads(self, value: ir.Value) -> bool:
        """Memory holds the bytes of the value by four of its channels."""
        return str(value.name) in self._quads

    def write_quads(self, value: ir.Value, axis: int) -> Tensor:
        """Declare that the value is written by four of its channels; returns the tensor to write."""
        whole = tensor(value)
        layout = Quads(axis, flipped(dtype_of(value), self.dotted))
        written = Tensor(whole.name, Facts.of(whole.shape, axis).shape, self.dotted, layout)
        self._quads[whole.name] = _InQuads(written, axis)
        return written

    @property
    def dotted(self) -> Element:
        """What lies in quads."""
        dotted = self.target.cpu.dotted
        assert dotted is not None  # else nothing is seen as integers
        return dotted

    def is_stored(self, value: ir.Value) -> bool:
        """A call, or the caller of the model, writes this value."""
        return str(value.name) in self._stored or str(value.name) in self._quads

    def write_rows(self, value: ir.Value) -> Tensor:
        """Declare that the value is written as ONNX lays it out; returns the tensor to write."""
        return self._declare(tensor(value), _rows(tensor(value).shape))

    def write_columns(self, value: ir.Value) -> Tensor:
        """Declare that the value is written as [F, N]; returns the tensor to write."""
        return self._declare(tensor(value), _columns(tensor(value).shape))

    def write_ordered(self, value: ir.Value, axes: Sequence[int]) -> Tensor:
        """Declare that the value is written with its axes in an order; returns the tensor to write."""
        return self._declare(tensor(value), _order(tensor(value).shape, axes))

    def reshape(self, value: ir.Value, source: ir.Value) -> None:
        """Make `value` the elements of `source` in another shape."""
        whole, new = tensor(source), tensor(value)
        self._origins[new.name] = _Origin(whole, _match(whole.shape, new.shape))
        stored = self._quads.get(whole.name)
        axis = None if stored is None else same_channels(whole.shape, stored.axis, new.shape)
        if stored is not None and axis is not None:
            self._quads[new.name] = _InQuads(stored.memory, axis)

    def transpose(self, value: ir.Value, source: ir.Value, perm: Sequence[int]) -> None:
        """Make axis i of `value` axis perm[i] of `source`."""
        whole = tensor(source)
        pairs = tuple(((axis,), (i,)) for i, axis in enumerate(perm) if whole.shape[axis] != 1)
        self._origins[str(value.name)] = _Origin(whole, pairs)

    def _declare(self, whole: Tensor, order: Order) -> Tensor:
        written = replace(whole, layout=ROWS if order == _rows(whole.shape) else Ordered(order))
        self._stored.setdefault(whole.name, {})[order] = written
        return written

    def _find(self, whole: Tensor, order: Order) -> Tensor | None:
        """The memory that holds a value in an order, if any does."""
        stored = self._stored.get(whole.name, {}).get(order)
        origin = self._origins.get(whole.name)
        if stored is None and origin is not None:
            there = origin.to_source(order)
            found = None if there is None else self._find(origin.source, there)
            stored = None if found is None else replace(found, shape=whole.shape)
        return stored

    def _hold(self, whole: Tensor, order: Order) -> Tensor:
        """The memory that holds a value in an order; transposed into it where none does."""
        self._take_apart(whole)
        found = self._find(whole, order)
        if found is not None:
            return replace(found, shape=whole.shape)
        origin = self._origins.get(whole.name)
        there = None if origin is None else origin.to_source(order)
        if origin is not None and there is not None:
            return replace(self._hold(origin.source, there), shape=whole.shape)
        held = self._any_order(whole)
        source = self._find(whole, held)
        assert source is not None
        written = self._declare(whole, order)
        sizes = tuple(whole.shape[axis] for axis in held)
        permutation = tuple(held.index(axis) for axis in order)
        build = transpose if whole.element in TAKEN else transpose_copy
        kernel = build(sizes, permutation, whole.element, self.target)
        self.emit_stored(Call(f"{whole.name}/transpose", "Transpose", kernel, (source,), (written,)))
        return written

    def _take_apart(self, whole: Tensor) -> None:
        """Convert a value that lies in quads alone into rows."""
        stored = self._quads.get(whole.name)
        if stored is None or whole.name in self._stored or whole.name in self._origins:
            return
        rows = self._declare(whole, _rows(whole.shape))
        self.emit_stored(from_quads(stored.memory, stored.axis, rows, self.target))

    def _any_order(self, whole: Tensor) -> Order:
        """An order in which memory holds the value; made so for a view of what fits none of its orders."""
        self._take_apart(whole)
        stored = self._stored.get(whole.name)
        if stored:
            return next(iter(stored))
        origin = self._origins.get(whole.name)
        if origin is None:
            raise InternalError(f"value {whole.name!r} is read before it is written")
        order = origin.to_view(self._any_order(origin.source))
        if order is not None:
            return order
        self._hold(origin.source, _rows(origin.source.shape))
        return _rows(whole.shape)


def _is_value(operand: Tensor | Constant) -> TypeGuard[Tensor]:
    """Whether it is a value of the model, and not what lies between two kernels of an operator."""
    return isinstance(operand, Tensor) and not isinstance(operand.layout, Within)


def _order(shape: Shape, axes: Sequence[int]) -> Order:
    return tuple(axis for axis in axes if shape[axis] != 1)


def _rows(shape: Shape) -> Order:
    return _order(shape, range(len(shape)))


def _columns(shape: Shape) -> Order:
    last = len(shape) - 1
    return _order(shape, (last, *range(last)))


def _relabel(order: Order, runs: Sequence[tuple[Order, Order]]) -> Order | None:
    """Replace each run of axes in `order` by its partner; None where a run is not whole and in sequence."""
    partners = {run[0]: (run, partner) for run, partner in runs}
    result: list[int] = []
    at = 0
    while at < len(order):
        run, partner = partners.get(order[at], ((), ()))
        if not run or order[at : at + len(run)] != run:
            return None
        result += partner
        at += len(run)
    return tuple(result)


def _match(before: Shape, after: Shape) -> tuple[tuple[Order, Order], ...]:
    """The shortest runs of axes of equal product, from the front, axes of size 1 left out."""
    left, right = list(_rows(before)), list(_rows(after))
    pairs: list[tuple[Order, Order]] = []
    while left and right:
        run, partner = [left.pop(0)], [right.pop(0)]
        have, want = before[run[0]], after[partner[0]]
        while have != want:
            if have < want:
                run.append(left.pop(0))
                have *= before[run[-1]]
            else:
                partner.append(right.pop(0))
                want *= after[partner[-1]]
        pairs.append((tuple(run), tuple(partner)))
    return tuple(pairs)
