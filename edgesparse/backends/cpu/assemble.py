"""Calls on named tensors to a `Program`: place values and weights, compile the kernels, resolve every argument."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgesparse.backends.cpu.arena import ArenaPlan, align, plan_arena
from edgesparse.backends.cpu.codegen import CodeImage, compile_kernels
from edgesparse.backends.cpu.kernel import OVERREAD_BYTES, Call, Kernel, Tensor
from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.program import Arg, Bound, Constant, IndexArray, Program, Space, Step, TensorSpec


def assemble(lowered: Lowered, target: Target) -> Program:
    """Build the program; equal constants are stored once, kernels with one symbol compiled once."""
    calls = lowered.calls
    arena = plan_arena(calls, list(lowered.inputs.values()), list(lowered.outputs.values()))
    kernels: dict[str, Kernel] = {call.kernel.symbol: call.kernel for call in calls}
    image = compile_kernels(list(kernels.values()), target)
    weights, indices = _Arrays(), _Indices()
    steps = tuple(_step(call, arena, weights, indices, image) for call in calls)
    scratch = max((call.kernel.scratch_bytes for call in calls), default=0)
    return Program(
        isa=target.cpu.isa,
        cpu_features=target.cpu.requires,
        arena_bytes=arena.size_bytes,
        scratch_bytes=align(scratch + OVERREAD_BYTES) if scratch else 0,
        inputs=_specs(lowered.inputs, arena),
        outputs=_specs(lowered.outputs, arena),
        steps=steps,
        code=image.data,
        weights=weights.pack(),
        indices=indices.pack(),
        arrays=tuple(indices.arrays),
    )


def _specs(tensors: Mapping[str, Tensor], arena: ArenaPlan) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, t.dtype, t.shape, arena.offsets[t.memory]) for name, t in tensors.items())


def _step(call: Call, arena: ArenaPlan, weights: _Arrays, indices: _Indices, image: CodeImage) -> Step:
    def placed(tensor: Tensor) -> Arg:
        name = tensor.name if call.kernel.fails else ""  # only what a fault may name
        return Arg(Space.ARENA, arena.offsets[tensor.memory], tensor.size_bytes, name=name)

    def stored(constant: Constant) -> Arg:
        if constant.bound is not None:
            return indices.add(constant.data, constant.bound)
        return Arg(Space.WEIGHTS, weights.place(constant.data), constant.data.nbytes)

    args = [stored(read) if isinstance(read, Constant) else placed(read) for read in call.reads]
    args += [placed(write) for write in call.writes]
    if call.kernel.scratch_bytes:
        args.append(Arg(Space.SCRATCH, 0, call.kernel.scratch_bytes))
    symbol = call.kernel.symbol
    return Step(call.name, call.op, symbol, image.entries[symbol], call.kernel.tiles, tuple(args))


class _Arrays:
    """A section of arrays while it grows."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._offsets: dict[tuple[bytes, object], int] = {}

    def place(self, array: np.ndarray, fact: object = None) -> int:
        """Offset of the array; of equal ones, with equal facts, there is one."""
        data = np.ascontiguousarray(array).tobytes()
        offset = self._offsets.get((data, fact))
        if offset is None:
            offset = self._offsets[data, fact] = self._size_bytes
            self._parts.append(data.ljust(align(len(data)), b"\0"))
            self._size_bytes += len(self._parts[-1])
        return offset

    def pack(self) -> bytes:
        """The section, with room for kernels that load past its last array."""
        return b"".join([*self._parts, bytes(OVERREAD_BYTES)]) if self._parts else b""


class _Indices(_Arrays):
    """The indices: what is proved about an array is proved once."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: list[IndexArray] = []
        self._numbers: dict[tuple[int, Bound], int] = {}

    def add(self, data: np.ndarray, bound: Bound) -> Arg:
        """The argument that is this array."""
        offset = self.place(data, bound)
        number = self._numbers.setdefault((offset, bound), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(IndexArray(offset, data.nbytes, bound))
        return Arg(Space.INDICES, offset, data.nbytes, array=number)
