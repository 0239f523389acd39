"""TIR functions in plain C form: scheduled blocks become kernels over a range of tiles.

A function of several loop nests becomes one kernel for each nest; what they hand to each other lives in the arena.
So nothing is allocated at run time, and each nest has tiles of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.relax.defined import wrap
from edgesparse.backends.cpu.relax.importer import TirCall
from edgesparse.backends.cpu.relax.intrinsics import inline_math
from edgesparse.backends.cpu.relax.reduction import Reduction, emit_reduction, match_reduction
from edgesparse.backends.cpu.relax.schedule import GRAIN
from edgesparse.devices.targets import Target
from edgesparse.errors import LowerError
from edgesparse.numerics import I32, element
from edgesparse.program import Constant

_LOCAL_BYTES = 1024  # beyond it TVM allocates a workspace by a runtime call

_LOWER_BLOCKS = tvm.transform.Sequential(
    [
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.StmtSimplify(),
    ]
)


@dataclass(frozen=True, eq=False)
class _Nest:
    """Statements that become one kernel, and the flat buffers they touch."""

    body: tirx.Stmt
    reads: tuple[tirx.Buffer, ...]
    writes: tuple[tirx.Buffer, ...]
    private: bool = False  # it has memory of its own among the writes, so tiles must not run side by side


def emit_calls(scheduled: tirx.PrimFunc, call: TirCall, name: str, op: str, target: Target) -> list[Call]:
    """The kernel calls that do what `call` does.

    Args: name, op: of the calls, for profiles.

    Raises: LowerError: the function takes an operand for another type or size than it has.
    """
    _require_operands(scheduled, [*call.reads, *call.writes])
    func = _LOWER_BLOCKS(tvm.IRModule({"main": scheduled}))["main"]
    memory: dict[tirx.Buffer, Tensor | Constant] = {}
    arguments = dict(zip(func.params, [*call.reads, *call.writes], strict=True))
    known: dict[tirx.Var, tvm.ir.Expr] = {}  # arguments start at their address
    for parameter in func.params:
        if isinstance(parameter.elem_offset, tirx.Var):
            known[parameter.elem_offset] = tirx.const(0, parameter.elem_offset.ty.dtype)
    stages: list[tirx.Stmt] = []
    for statement in _sequence(func.body):
        if isinstance(statement, tirx.DeclBuffer):
            memory[statement.buffer] = arguments[statement.data.args[0]]
        elif isinstance(statement, tirx.AllocBuffer):
            buffer = statement.buffer
            memory[buffer] = _between(call.writes[0], buffer, len(memory))
        else:
            stages.append(statement)
    calls = []
    for nest in _nests(stages, memory, call.writes[0]):
        kernel = _kernel(nest, known, op, target)
        reads = tuple(memory[buffer] for buffer in nest.reads)
        writes = tuple(memory[buffer] for buffer in nest.writes)
        calls.append(Call(name, op, kernel, reads, writes))  # type: ignore[arg-type]
    return calls


def _require_operands(func: tirx.PrimFunc, operands: Sequence[Tensor | Constant]) -> None:
    for parameter, operand in zip(func.params, operands, strict=True):
        memory = operand.data if isinstance(operand, Constant) else operand
        taken, there = (_size(parameter), str(parameter.dtype)), (memory.size, str(memory.dtype))
        if taken != there:
            name = "a constant" if isinstance(operand, Constant) else f"{operand.name!r}"
            raise LowerError(
                f"TVM takes {name} for {taken[0]} elements of {taken[1]}, expected {there[0]} of {there[1]}"
            )


def _sequence(body: tirx.Stmt) -> Iterator[tirx.Stmt]:
    if isinstance(body, tirx.SeqStmt):
        for statement in body.seq:
            yield from _sequence(statement)
    else:
        yield body


def _nests(stages: Sequence[tirx.Stmt], memory: dict[tirx.Buffer, Tensor | Constant], first: Tensor) -> Iterator[_Nest]:
    """Cut `stages` so that every buffer is written by one nest only; large local buffers join `memory`."""
    touched = [_touched(stage) for stage in stages]
    last = {buffer: at for at, (_, writes) in enumerate(touched) for buffer in writes}
    start = 0
    while start < len(stages):
        end = start
        at = start
        while at <= end:
            end = max([end, *(last[buffer] for buffer in touched[at][1] if buffer in memory)])
            at += 1
        part = slice(start, end + 1)
        reads, writes = ({b: None for found in touched[part] for b in found[side] if b in memory} for side in (0, 1))
        body = stages[start] if end == start else tirx.SeqStmt(list(stages[part]))
        large = [buffer for buffer in _allocated(body) if _bytes(buffer) > _LOCAL_BYTES]
        for buffer in large:
            memory[buffer] = _between(first, buffer, len(memory))
        yield _Nest(body, tuple(b for b in reads if b not in writes), (*writes, *large), bool(large))
        start = end + 1


def _between(first: Tensor, buffer: tirx.Buffer, number: int) -> Tensor:
    return first.within(f"{buffer.name}{number}", (_size(buffer),), element(str(buffer.dtype)))


def _touched(stage: tirx.Stmt) -> tuple[dict[tirx.Buffer, None], dict[tirx.Buffer, None]]:
    reads: dict[tirx.Buffer, None] = {}
    writes: dict[tirx.Buffer, None] = {}

    def load(node: tvm.ir.TensorLoad) -> None:
        reads[node.source] = None

    def store(node: tirx.BufferStore) -> None:
        writes[node.buffer] = None

    tvm_ffi.structural_walk(stage, [(tvm.ir.TensorLoad, load), (tirx.BufferStore, store)])
    return reads, writes


def _allocated(stage: tirx.Stmt) -> list[tirx.Buffer]:
    found: list[tirx.Buffer] = []
    tvm_ffi.structural_walk(stage, (tirx.AllocBuffer, lambda node: found.append(node.buffer)))
    return found


def _bytes(buffer: tirx.Buffer) -> int:
    return _size(buffer) * (int(tvm.DataType(str(buffer.dtype)).bits) // 8)


def _size(buffer: tirx.Buffer) -> int:
    size = 1
    for extent in buffer.shape:
        size *= int(extent)
    return size


def _kernel(nest: _Nest, known: Mapping[tirx.Var, tvm.ir.Expr], op: str, target: Target) -> Kernel:
    buffers = [*nest.reads, *nest.writes]
    params = [Param(_size(buffer), element(str(buffer.dtype))) for buffer in buffers]
    loop = nest.body
    grain = 0 if nest.private else _grain(loop)
    tiles = -(-int(loop.extent) // grain) if grain else 1

    def body(tile: tvm.ir.Expr, *flat: tirx.Buffer) -> None:
        emitter = _Emitter({**known, **dict(zip(buffers, flat, strict=True))}, target.cpu.vector_bits)
        if grain:
            # Bound to names: TVM 0.27 forgets the start of the loop over tiles in the bounds of inner loops.
            first = T.bind(tile * grain)
            count = T.bind(T.min(int(loop.extent) - first, grain)) if int(loop.extent) % grain else T.int32(grain)
            emitter.loop(loop, first, count)
        else:
            emitter.statement(loop)

    kernel = build_kernel("es_fallback", params, tiles, body)
    name = op.split("+", 1)[0].lower()
    digest = tvm_ffi.structural_hash(kernel.func.without_attr("global_symbol"))
    written = params[-1].element if params else I32  # some nests touch nothing
    symbol = kernel_symbol(name, written, "", None, digest)
    return replace(kernel, symbol=symbol, func=kernel.func.with_attr("global_symbol", symbol))


def _grain(loop: tirx.Stmt) -> int:
    """Iterations of an outermost loop that make a tile; 0 where the loop must run as a whole."""
    if not isinstance(loop, tirx.For) or not isinstance(loop.extent, tirx.IntImm) or int(loop.min) != 0:
        return 0
    return int(loop.annotations[GRAIN]) if GRAIN in loop.annotations else 0


class _Emitter:
    """Writes statements again through the builder: other buffers, math inline."""

    def __init__(self, known: Mapping[tirx.Var, tvm.ir.Expr], vector_bits: int) -> None:
        self._vector_bits = vector_bits
        self._vars: dict[tirx.Var, tvm.ir.Expr] = dict(known)

    def expression(self, value: tvm.ir.Expr) -> tvm.ir.Expr:
        """`value` on this kernel's buffers and variables."""
        return inline_math(tvm_ffi.structural_map(value, (tirx.Var, lambda var: self._vars.get(var, var))))

    def loop(self, node: tirx.For, first: tvm.ir.Expr, count: tvm.ir.Expr) -> None:
        """The loop `node` over another range."""
        found = match_reduction(node)
        lanes = found.lanes(self._vector_bits) if found is not None else 0
        if found is not None and lanes:
            self._reduce(found, lanes)
            return
        make = {tirx.ForKind.VECTORIZED: T.vectorized, tirx.ForKind.UNROLLED: T.unroll}.get(node.kind, T.serial)
        with make(0, count) as var:
            self._vars[node.loop_var] = (
                tirx.Cast(node.loop_var.ty.dtype, first + var)
                if str(node.loop_var.ty.dtype) != "int32"
                else first + var
            )
            self.statement(node.body)

    def _reduce(self, found: Reduction, lanes: int) -> None:
        def term(at: tvm.ir.Expr) -> tvm.ir.Expr:
            self._vars[found.loop.loop_var] = at
            return self.expression(found.term)

        buffer = found.store.buffer
        emit_reduction(found, lanes, self._vars.get(buffer, buffer), self.expression(found.store.indices[0]), term)

    def statement(self, node: tirx.Stmt) -> None:
        """Emit `node` at the current place."""
        match node:
            case tirx.SeqStmt():
                for part in node.seq:
                    self.statement(part)
            case tirx.For():
                self.loop(node, self.expression(node.min), self.expression(node.extent))
            case tirx.BufferStore():
                value, indices = wrap(self.expression(node.value)), [self.expression(index) for index in node.indices]
                T.buffer_store(self._vars.get(node.buffer, node.buffer), value, indices)
            case tirx.IfThenElse():
                self._branch(node)
            case tirx.AllocBuffer():
                self._allocate(node.buffer)
            case tirx.Bind():
                self._vars[node.var] = T.bind(self.expression(node.value))
            case tirx.While():
                with T.While(self.expression(node.condition)):
                    self.statement(node.body)
            case tirx.AttrStmt():
                self.statement(node.body)
            case tirx.Evaluate():
                T.evaluate(self.expression(node.value))
            case _:
                raise LowerError(f"TVM produces a statement that has no plain form: {type(node).__name__}")

    def _branch(self, node: tirx.IfThenElse) -> None:
        with T.If(self.expression(node.condition)):
            with T.Then():
                self.statement(node.then_case)
            if node.else_case is not None:
                with T.Else():
                    self.statement(node.else_case)

    def _allocate(self, buffer: tirx.Buffer) -> None:
        if buffer not in self._vars:  # a large one is a parameter
            self._vars[buffer] = T.alloc_buffer((_size(buffer),), str(buffer.dtype), scope="global")
