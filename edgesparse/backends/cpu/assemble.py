"""Calls on named tensors to a `Program`: place values and weights, compile the kernels, resolve every argument."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgesparse.backends.cpu.arena import ArenaPlan, align, plan_arena
from edgesparse.backends.cpu.codegen import CodeImage, compile_kernels
from edgesparse.backends.cpu.kernel import Call, Kernel, Tensor
from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.package.sharing import Arrays
from edgesparse.program import (
    OVERREAD_BYTES,
    Arg,
    Bound,
    Constant,
    Engine,
    Image,
    IndexArray,
    Program,
    Space,
    Step,
    TensorSpec,
)


def assemble(lowered: Lowered, target: Target) -> Program:
    """Build the program; equal constants are stored once, kernels with one symbol compiled once."""
    calls = lowered.calls
    arena = plan_arena(calls, list(lowered.inputs.values()), list(lowered.outputs.values()))
    kernels: dict[str, Kernel] = {call.kernel.symbol: call.kernel for call in calls}
    image = compile_kernels(list(kernels.values()), target)
    weights, indices = Arrays(), _Indices()
    steps = tuple(_step(call, arena, weights, indices, image) for call in calls)
    scratch = max((call.kernel.scratch_bytes for call in calls), default=0)
    scratch_bytes = align(scratch + OVERREAD_BYTES) if scratch else 0
    return Program(
        engines=(Engine(arena.size_bytes, scratch_bytes),),
        images=(Image(target.cpu.isa, target.cpu.requires, image.data, core=target.cpu.midr or 0),),
        inputs=_specs(lowered.inputs, arena),
        outputs=_specs(lowered.outputs, arena),
        steps=steps,
        weights=weights.pack(),
        indices=indices.pack(),
        arrays=tuple(indices.arrays),
    )


def _specs(tensors: Mapping[str, Tensor], arena: ArenaPlan) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, t.dtype, t.shape, arena.offsets[t.memory]) for name, t in tensors.items())


def _step(call: Call, arena: ArenaPlan, weights: Arrays, indices: _Indices, image: CodeImage) -> Step:
    def placed(tensor: Tensor) -> Arg:
        name = tensor.name if call.kernel.fails else ""  # only what a fault may name
        return Arg(Space.ARENA, arena.offsets[tensor.memory], tensor.size_bytes, name=name)

    def stored(constant: Constant) -> Arg:
        if constant.bound is not None:
            return indices.add(constant.data, constant.bound)
        return Arg(Space.WEIGHTS, weights.place(_bytes(constant.data)), constant.data.nbytes)

    args = [stored(read) if isinstance(read, Constant) else placed(read) for read in call.reads]
    args += [placed(write) for write in call.writes]
    if call.kernel.scratch_bytes:
        args.append(Arg(Space.SCRATCH, 0, call.kernel.scratch_bytes))
    symbol = call.kernel.symbol
    return Step(call.name, call.op, symbol, image.entries[symbol], call.kernel.tiles, tuple(args))


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


class _Indices(Arrays):
    """The indices: what is proved about an array is proved once."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: list[IndexArray] = []
        self._numbers: dict[tuple[int, Bound], int] = {}

    def add(self, data: np.ndarray, bound: Bound) -> Arg:
        """The argument that is this array."""
        offset = self.place(_bytes(data), bound)
        number = self._numbers.setdefault((offset, bound), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(IndexArray(offset, data.nbytes, bound))
        return Arg(Space.INDICES, offset, data.nbytes, array=number)
