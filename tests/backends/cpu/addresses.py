"""Which constants kernels make addresses and numbers of turns from, read from their code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tvm
import tvm_ffi
from tvm import tirx

from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.program import Constant


def unproved(calls: Sequence[Call]) -> list[str]:
    """The calls that follow what constants hold, directly or through the arena, where nothing proves or checks it."""
    checked = {read.data.tobytes() for call in calls if call.kernel.fails for read in _constants(call)}
    doubtful: set[str] = set()  # tensors that were computed from such constants
    found = []
    for call in calls:
        suspects = [
            read.name in doubtful
            if isinstance(read, Tensor)
            else read.bound is None and read.data.tobytes() not in checked
            for read in call.reads
        ]
        walk = _Walk(call, suspects)
        doubtful |= {write.name for write in walk.doubtful_writes()}
        found += [f"{call.name} ({call.op})"] * walk.follows()
    return found


def _constants(call: Call) -> Iterator[Constant]:
    yield from (read for read in call.reads if isinstance(read, Constant))


class _Walk:
    """A kernel, and its buffers and names that hold what suspects hold."""

    def __init__(self, call: Call, suspects: Sequence[bool]) -> None:
        self.call, self.body = call, call.kernel.func.body
        self.parameters: list[tuple[int, tirx.Buffer]] = []
        self.tainted: set[object] = set()
        numbers = {parameter: number for number, parameter in enumerate(call.kernel.func.params)}

        def declare(node: tirx.DeclBuffer) -> None:
            pointer = node.data if node.data in numbers else node.data.args[0]
            self.parameters.append((numbers[pointer], node.buffer))

        tvm_ffi.structural_walk(self.body, (tirx.DeclBuffer, declare))
        self.tainted |= {buffer for number, buffer in self.parameters if number < len(suspects) and suspects[number]}
        before = -1
        while self.tainted and len(self.tainted) != before:
            before = len(self.tainted)
            tvm_ffi.structural_walk(self.body, [(tirx.Bind, self._bind), (tirx.BufferStore, self._store)])

    def _bind(self, node: tirx.Bind) -> None:
        if self._is_tainted(node.value):
            self.tainted.add(node.var)

    def _store(self, node: tirx.BufferStore) -> None:
        if self._is_tainted(node.value):
            self.tainted.add(node.buffer)

    def _is_tainted(self, value: tvm.ir.Expr) -> bool:
        def load(node: tvm.ir.TensorLoad) -> object:
            return tvm_ffi.VisitInterrupt(True) if node.source in self.tainted else None

        def name(node: tirx.Var) -> object:
            return tvm_ffi.VisitInterrupt(True) if node in self.tainted else None

        return tvm_ffi.structural_walk(value, [(tvm.ir.TensorLoad, load), (tirx.Var, name)]) is not None

    def doubtful_writes(self) -> list[Tensor]:
        """The tensors that hold what suspects hold, or what was computed from it."""
        first = len(self.call.reads)
        written = {number - first for number, buffer in self.parameters if buffer in self.tainted and number >= first}
        return [write for number, write in enumerate(self.call.writes) if number in written]

    def follows(self) -> bool:
        """Whether an index or the extent of a loop holds it."""
        if not self.tainted:
            return False

        def any_of(values: Sequence[tvm.ir.Expr]) -> object:
            return tvm_ffi.VisitInterrupt(True) if any(map(self._is_tainted, values)) else None

        rules = [
            (tvm.ir.TensorLoad, lambda node: any_of(node.indices)),
            (tirx.BufferStore, lambda node: any_of(node.indices)),
            (tirx.For, lambda node: any_of([node.min, node.extent])),
        ]
        return tvm_ffi.structural_walk(self.body, rules) is not None
