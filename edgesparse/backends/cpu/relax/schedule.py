"""One generic CPU schedule for whatever TVM's legalisation gives.

Injective blocks are inlined where that repeats no costly work. Each remaining block gets its axes merged where memory
allows it, a contiguous innermost loop that vectorises, and an outermost loop that is cut into tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import SBlock, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from edgesparse.backends.cpu.relax.access import Axis, axes_of
from edgesparse.backends.cpu.relax.builder import names
from edgesparse.backends.cpu.relax.defined import define, divides
from edgesparse.backends.cpu.relax.intrinsics import is_inline, operator

GRAIN = "edgesparse.grain"
"""Annotation of an outermost loop: iterations that make a tile."""

_TILE_ELEMENTS = 4096
_SHORTEST = 8  # iterations worth a vector loop
_LARGEST = 400  # nodes of an expression that inlining may make: chains of neighbours that read a value twice double it
_DEEPEST = {tirx.Select: 2, tirx.Cast: 12}
"""The most conditions or casts inside one another: TVM simplifies each several times for the one around it."""
_CHUNK = 256  # elements of a row that stay in registers or L1 while a reduction runs over it
_COSTLY = names(
    """
    acos acosh asin asinh atan atan2 atanh cos cosh erf exp exp10 exp2 hypot if_then_else log log10 log1p
    log2 pow sigmoid sin sinh sqrt tan tanh
    """
)

_WRITTEN_OUT = names("acos acosh asin asinh atan atanh cosh sinh tan tanh")
"""Functions that TVM writes out with their argument repeated: one inside another doubles at least.

Ours take the place of some of them in single precision (`intrinsics`), and repeat nothing.
"""


def schedule(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return `func` inlined, with loops in the order that suits a CPU."""
    sch = Schedule(tvm.IRModule({"main": define(_exact_identities(func))}))
    try:
        root = sch.get_sblock("root")
    except ScheduleError:  # one opaque block: a scatter, a scan
        return sch.mod["main"]
    _inline(sch, root)
    for block in sch.get_child_blocks(root):
        _order_loops(sch, block)
    return sch.mod["main"]


def _exact_identities(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Maxima and minima start from infinity; TVM starts them from the largest finite number."""

    def infinite(number: tirx.FloatImm) -> tirx.FloatImm:
        dtype = str(number.ty.dtype)
        limit = float(tirx.max_value(dtype).value)
        return tirx.const(float("inf") * number.value, dtype) if abs(float(number.value)) == limit else number

    def fix(block: SBlock) -> SBlock:
        if block.init is None:
            return block
        init = tvm_ffi.structural_map(block.init, (tirx.FloatImm, infinite))
        return SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            block.body,
            init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )

    return func.with_body(tvm_ffi.structural_map(func.body, (SBlock, fix)))


def _inline(sch: Schedule, root: SBlockRV) -> None:
    changed = True
    while changed:
        changed = False
        for block in reversed(sch.get_child_blocks(root)):
            if _worth_inlining(sch, block):
                try:
                    sch.compute_inline(block)
                    changed = True
                except ScheduleError:
                    continue


def _worth_inlining(sch: Schedule, block: SBlockRV) -> bool:
    found = sch.get(block)
    if not isinstance(found.body, tirx.BufferStore) or any(
        axis.iter_type != tirx.IterVar.DataPar for axis in found.iter_vars
    ):
        return False
    consumers = sch.get_consumers(block)
    if not consumers or divides(found.body) or _calls(found, _is_written_out):
        return False
    readers = [sch.get(consumer) for consumer in consumers]
    for kind, most in _DEEPEST.items():
        depth = _depth(found.body, kind)
        if depth and any(_depth(reader.body, kind) + depth > most for reader in readers):
            return False
    if any(_nodes(reader) + _nodes(found) * _loads(reader, found.writes[0].source) > _LARGEST for reader in readers):
        return False
    return sum(map(_volume, readers)) <= _volume(found) or not _calls(found, lambda call: operator(call) in _COSTLY)


def _nodes(block: SBlock) -> int:
    """Size of what `block` computes, as a tree."""
    count = 0

    def visit(node: tvm.ir.Expr) -> None:
        nonlocal count
        count += not isinstance(node, tvm.ir.Op)

    tvm_ffi.structural_walk(block.body, (tvm.ir.Expr, visit))
    return count


def _depth(node: tirx.Stmt | tvm.ir.Expr, kind: type) -> int:
    """How deep `node` has conditions in conditions, or casts of casts."""
    deepest = 0

    def visit(found: tirx.Select | tirx.Cast) -> object:
        nonlocal deepest
        if isinstance(found, tirx.Select):
            inner = max(
                _depth(found.condition, kind) + 1, _depth(found.true_value, kind), _depth(found.false_value, kind)
            )
        else:
            inner = _depth(found.value, kind) + 1
        deepest = max(deepest, inner)
        return tvm_ffi.WalkResult.SKIP

    tvm_ffi.structural_walk(node, (kind, visit), order="pre")
    return deepest


def _loads(block: SBlock, buffer: tirx.Buffer) -> int:
    """How often `block` reads `buffer`, for one element."""
    found: list[tvm.ir.TensorLoad] = []
    tvm_ffi.structural_walk(block.body, (tvm.ir.TensorLoad, found.append))
    return sum(load.source.same_as(buffer) for load in found)


def _volume(block: SBlock) -> int:
    return prod(int(axis.dom.extent) for axis in block.iter_vars)


def _is_written_out(call: tvm.ir.Call) -> bool:
    return operator(call) in _WRITTEN_OUT and not is_inline(call)


def _calls(block: SBlock, wanted: Callable[[tvm.ir.Call], bool]) -> bool:
    """Whether `block` calls such a function."""

    def visit(call: tvm.ir.Call) -> object:
        return tvm_ffi.VisitInterrupt(True) if wanted(call) else None

    return tvm_ffi.structural_walk(block.body, (tvm.ir.Call, visit)) is not None


def _order_loops(sch: Schedule, block: SBlockRV) -> None:
    """Merge, reorder and annotate the loops around `block`; leave alone what is not a plain nest."""
    found, loops = sch.get(block), sch.get_loops(block)
    if not loops or not _is_plain_nest(sch, block, loops) or len(loops) != len(found.iter_vars):
        return
    axes = axes_of(found)
    spatial = _merge(sch, [(loop, axis) for loop, axis in zip(loops, axes, strict=True) if not axis.reduced])
    reduced = [(loop, axis) for loop, axis in zip(loops, axes, strict=True) if axis.reduced]
    if not reduced:
        _tile(sch, [loop for loop, _ in spatial[:-1]] or [spatial[0][0]], prod(a.extent for _, a in spatial[1:][-1:]))
        return
    reduced = _merge(sch, reduced)
    outer, inner = _split_spatial(sch, spatial, reduced)
    order = [loop for loop, _ in outer] + [loop for loop, _ in reduced] + [loop for loop, _ in inner]
    sch.reorder(*order)
    work = prod(axis.extent for _, axis in [*reduced, *inner])
    if outer:
        _tile(sch, [loop for loop, _ in outer], work)
    sch.decompose_reduction(block, reduced[0][0])


def _is_plain_nest(sch: Schedule, block: SBlockRV, loops: Sequence[LoopRV]) -> bool:
    """Whether the loops hold `block` only, each axis bound to a loop of its own, in order."""
    body = sch.get(loops[0])
    for loop in loops:
        found = sch.get(loop)
        if not tvm_ffi.structural_equal(found.min, tirx.const(0, found.min.ty.dtype)):
            return False
        body = found.body
    if not isinstance(body, s_tir.SBlockRealize):
        return False
    bound = [value.same_as(sch.get(loop).loop_var) for value, loop in zip(body.iter_values, loops, strict=False)]
    kinds = {axis.iter_type for axis in sch.get(block).iter_vars}
    return len(bound) == len(loops) and all(bound) and kinds <= {tirx.IterVar.DataPar, tirx.IterVar.CommReduce}


def _merge(sch: Schedule, nest: Sequence[tuple[LoopRV, Axis]]) -> list[tuple[LoopRV, Axis]]:
    merged = [nest[0]] if nest else []
    for loop, axis in nest[1:]:
        outer, outer_axis = merged[-1]
        if outer_axis.merges(axis):
            merged[-1] = (sch.fuse(outer, loop), outer_axis.merged(axis))
        else:
            merged.append((loop, axis))
    return merged


Nest = list[tuple[LoopRV, Axis]]


def _split_spatial(sch: Schedule, spatial: Nest, reduced: Nest) -> tuple[Nest, Nest]:
    """The loops outside and inside of a reduction: a row inside it where that is what is contiguous."""
    if not spatial:
        return [], []
    loop, axis = spatial[-1]
    best = reduced[-1][1]
    if axis.extent < _SHORTEST or (best.contiguous > axis.contiguous and best.extent >= _SHORTEST):
        return spatial, []
    chunk = max(size for size in range(1, _CHUNK + 1) if axis.extent % size == 0)
    if chunk == axis.extent or chunk < _SHORTEST:
        return spatial[:-1], spatial[-1:]
    outer, inner = sch.split(loop, [None, chunk])
    strides = tuple(None if stride is None else stride * chunk for stride in axis.strides)
    parts = [(outer, Axis(axis.extent // chunk, False, strides, axis.plain)), (inner, axis)]
    parts[1] = (inner, Axis(chunk, False, axis.strides, axis.plain))
    return [*spatial[:-1], parts[0]], parts[1:]


def _tile(sch: Schedule, loops: Sequence[LoopRV], work: int) -> None:
    """Fuse `loops` into the one that is cut into tiles; `work` elements make one iteration."""
    fused = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    sch.annotate(fused, GRAIN, max(1, -(-_TILE_ELEMENTS // max(work, 1))))
