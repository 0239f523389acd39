"""How one TIR block reads and writes memory: the stride of every access along every axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import sym, tirx
from tvm.s_tir import SBlock

Strides = tuple[int | None, ...]
"""Elements between neighbours along an axis, by access; None where the access is not linear in the axis."""


@dataclass(frozen=True)
class Axis:
    """One axis of a block, or several merged."""

    extent: int
    reduced: bool
    strides: Strides
    plain: bool  # the axis only occurs in linear indices, never in a condition or a value

    def merges(self, inner: Axis) -> bool:
        """Whether this axis and `inner`, the next one inside it, walk memory as a single axis."""
        if self.reduced != inner.reduced:
            return False
        if self.extent == 1 or inner.extent == 1:
            return True
        pairs = zip(self.strides, inner.strides, strict=True)
        fits = all(a is not None and b is not None and a == b * inner.extent for a, b in pairs)
        return self.plain and inner.plain and fits

    def merged(self, inner: Axis) -> Axis:
        """The single axis for this one and `inner`."""
        kept = self if inner.extent == 1 else inner
        return Axis(self.extent * inner.extent, self.reduced, kept.strides, self.plain and inner.plain)

    @property
    def contiguous(self) -> int:
        """Accesses that neighbours along the axis share, or make side by side."""
        return sum(stride in (0, 1) for stride in self.strides)


def axes_of(block: SBlock) -> list[Axis]:
    """The axes of `block` in their order; its accesses are the reads, then the write."""
    variables = [iter_var.var for iter_var in block.iter_vars]
    accesses: list[tvm.ir.Expr] = []
    bare: dict[tirx.Var, None] = {}

    def load(node: tvm.ir.TensorLoad) -> object:
        accesses.append(_offset(node.source, node.indices))
        return tvm_ffi.WalkResult.SKIP

    def store(node: tirx.BufferStore) -> object:
        accesses.append(_offset(node.buffer, node.indices))
        tvm_ffi.structural_walk(node.value, [(tvm.ir.TensorLoad, load), (tirx.Var, note)], order="pre")
        return tvm_ffi.WalkResult.SKIP

    def note(node: tirx.Var) -> None:
        bare[node] = None

    tvm_ffi.structural_walk(block.body, [(tirx.BufferStore, store), (tirx.Var, note)], order="pre")
    strides = [_strides(access, variables) for access in accesses]
    axes = []
    for number, iter_var in enumerate(block.iter_vars):
        reduced = iter_var.iter_type == tirx.IterVar.CommReduce
        along = tuple(stride[number] for stride in strides)
        axes.append(Axis(int(iter_var.dom.extent), reduced, along, iter_var.var not in bare))
    return axes


def _offset(buffer: tirx.Buffer, indices: Sequence[tvm.ir.Expr]) -> tvm.ir.Expr:
    offset = indices[0] if indices else tirx.const(0, "int64")
    for extent, index in list(zip(buffer.shape, indices, strict=True))[1:]:
        offset = offset * int(extent) + index
    return offset


def _strides(offset: tvm.ir.Expr, variables: Sequence[tirx.Var]) -> list[int | None]:
    found = sym.detect_linear_equation(sym.Analyzer().simplify(offset), list(variables))
    if found and all(isinstance(part, tirx.IntImm) for part in found[:-1]):
        return [int(part) for part in found[:-1]]
    used: dict[tirx.Var, None] = {}
    tvm_ffi.structural_walk(offset, (tirx.Var, lambda var: used.setdefault(var)))
    return [None if variable in used else 0 for variable in variables]
