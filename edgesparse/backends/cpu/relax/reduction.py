"""Reductions over the innermost axis in vector lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernels.vectors import Fold, fold_lanes
from edgesparse.backends.cpu.relax.defined import wrap
from edgesparse.backends.cpu.relax.intrinsics import is_elementary
from edgesparse.numerics import F32, F64, I32, element

_FOLDS: dict[type, Fold] = {
    tirx.Add: lambda a, b: wrap(a + b),
    tirx.Mul: lambda a, b: wrap(a * b),
    tirx.Max: lambda a, b: T.max(a, b),
    tirx.Min: lambda a, b: T.min(a, b),
}
_DTYPES = frozenset({F32.name, F64.name, I32.name})
_CHAINS = 4  # vectors summed side by side, to hide the latency of the fold


@dataclass(frozen=True, eq=False)
class Reduction:
    """`target[place] = fold(target[place], term)` for every value of a loop variable."""

    loop: tirx.For
    store: tirx.BufferStore
    fold: Fold
    term: Expr
    dtype: str

    def lanes(self, width: int) -> int:
        """Lanes for registers of `width` bits: several registers where the loop is long enough; 0 where it is short."""
        lanes = width // element(self.dtype).bits
        extent = int(self.loop.extent)
        for chains in (_CHAINS, 1):
            if extent >= 2 * chains * lanes:
                return chains * lanes
        return 0


def match_reduction(loop: tirx.For) -> Reduction | None:
    """The reduction that an innermost loop is, or None."""
    store = loop.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(loop.extent, tirx.IntImm) or int(loop.min) != 0:
        return None
    dtype, kind = str(store.buffer.dtype), type(store.value)
    if kind not in _FOLDS or dtype not in _DTYPES or _uses(store.indices, loop.loop_var):
        return None
    left, right = store.value.a, store.value.b
    if not isinstance(left, TensorLoad) or not left.source.same_as(store.buffer):
        return None
    if not tvm_ffi.structural_equal(left.indices, store.indices) or _uses(right, store.buffer):
        return None
    return Reduction(loop, store, _FOLDS[kind], right, dtype)


def emit_reduction(found: Reduction, lanes: int, target: tirx.Var, place: Expr, term: Callable[[Expr], Expr]) -> None:
    """Emit `found` with `lanes` partial results; `term` gives the reduced expression for an iteration.

    Order: iteration i goes to lane i % lanes; lanes fold pairwise; what is left over follows in ascending order.
    """
    extent, fold = int(found.loop.extent), found.fold
    # What is written out holds values in scalars, which TVM cannot widen; LLVM vectorises those loops.
    across = T.serial if is_elementary(found.term) else T.vectorized
    partial = T.alloc_buffer((lanes,), found.dtype, scope="global")
    with across(0, lanes) as lane:
        T.buffer_store(partial, term(lane), [lane])
    with T.serial(1, extent // lanes) as step, across(0, lanes) as lane:
        T.buffer_store(partial, fold(partial[lane], term(step * lanes + lane)), [lane])
    total = fold_lanes(T.bind(partial[T.ramp(0, 1, lanes)]), fold)
    T.buffer_store(target, fold(tirx.BufferLoad(target, [place]), total), [place])
    if extent % lanes:
        with T.serial(extent - extent % lanes, extent) as rest:
            T.buffer_store(target, fold(tirx.BufferLoad(target, [place]), term(rest)), [place])


def _uses(node: object, variable: tirx.Var) -> bool:
    def visit(var: tirx.Var) -> object:
        return tvm_ffi.VisitInterrupt(True) if var.same_as(variable) else None

    return tvm_ffi.structural_walk(node, (tirx.Var, visit)) is not None
