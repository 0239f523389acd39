"""Run kernel calls in this process: the executor that kernel tests share.

The code image is mapped as the runtime maps it. Every buffer is 64-byte aligned, poisoned before use and
guarded behind its end, so that what a kernel leaves unwritten, or writes where it must not, is seen.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from edgesparse.backends.cpu.codegen import CodeImage, compile_kernels
from edgesparse.backends.cpu.kernel import ALIGNMENT_BYTES, Call, Kernel, Memory, Tensor
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.graph.layout import ROWS
from edgesparse.program import FAULT_FIELDS, OVERREAD_BYTES, Constant

POISON = 0xFF  # NaN as a float, -1 as a signed integer
GUARD = 0xCD


def _target(isa: str, triple: str, llvm_name: str, vector_bits: int, registers: int) -> Target:
    cpu = Cpu(
        isa=isa,
        triple=triple,
        llvm_name=llvm_name,
        features=(),
        requires=(),
        vector_bits=vector_bits,
        registers=registers,
        l1d_bytes=32768,
        l2_bytes=262144,
        cores=2,
    )
    return Target(name=f"test-{isa}", source="the least machine that tests run on", cpu=cpu)


def with_cpu(target: Target, **facts: Any) -> Target:
    """The target with other facts of its CPU."""
    return replace(target, cpu=replace(target.cpu, **facts))


HOST = (
    _target("aarch64", "aarch64-linux-gnu", "cortex-a72", 128, 32)
    if platform.machine() in ("aarch64", "arm64")
    else _target("x86_64", "x86_64-linux-gnu", "x86-64-v3", 256, 16)
)
"""A target that the machine under test can run."""


@dataclass(frozen=True)
class KernelFault(Exception):
    """What a kernel that failed reports."""

    kind: int
    operand: int
    element: int
    found: int
    lowest: int
    highest: int


class LoadedImage:
    """A code image mapped executable; call kernels by symbol."""

    def __init__(self, image: CodeImage) -> None:
        self._memory = mmap.mmap(-1, max(len(image.data), 1), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(image.data)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        pointers = ctypes.POINTER(ctypes.c_void_p)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, pointers, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p)
        self._entries = {symbol: prototype(base + offset) for symbol, offset in image.entries.items()}

    def call(self, symbol: str, pointers: Sequence[int], begin: int, end: int) -> None:
        """Run `symbol` over the tiles [begin, end).

        Raises: KernelFault: it failed.
        """
        fault = (ctypes.c_int64 * len(FAULT_FIELDS))()
        arguments = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
        if self._entries[symbol](arguments, begin, end, ctypes.addressof(fault)):
            raise KernelFault(**dict(zip(FAULT_FIELDS[:6], fault, strict=False)))


class GuardedBuffer:
    """Aligned memory of `size_bytes`, poisoned, then OVERREAD_BYTES and a guard of known bytes."""

    def __init__(self, size_bytes: int) -> None:
        self._raw = np.empty(size_bytes + OVERREAD_BYTES + 2 * ALIGNMENT_BYTES, np.uint8)
        start = -self._raw.ctypes.data % ALIGNMENT_BYTES
        self.bytes = self._raw[start : start + size_bytes]
        self._guard = self._raw[start + size_bytes :]
        self.bytes[:] = POISON
        self._guard[:] = GUARD
        self.pointer = self._raw.ctypes.data + start

    def view(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """The memory as an array; no copy."""
        return self.bytes.view(dtype).reshape(tuple(shape))

    def intact(self) -> bool:
        """Whether nothing was written behind the end."""
        return bool((self._guard == GUARD).all())


Key = str | Memory


def key(tensor: Tensor) -> Key:
    """Where results are found: by its name for a value as ONNX lays it out, else by its memory."""
    return tensor.name if tensor.layout == ROWS else tensor.memory


def run_calls(
    calls: Sequence[Call],
    feeds: Mapping[str, np.ndarray],
    target: Target = HOST,
    *,
    chunks: int = 3,
    inplace: bool = False,
) -> dict[Key, np.ndarray]:
    """Compile `calls`, run them in order, and return every value they write, by `key`.

    Args:
        feeds: arrays for the values that no call writes.
        chunks: ranges that the tiles of a call are cut into; they run last to first, as threads might.
        inplace: let the pairs in `Kernel.inplace` share memory (what the read held is then lost).
    """
    return run_image(load_calls(calls, target), calls, feeds, chunks=chunks, inplace=inplace)


def load_calls(calls: Iterable[Call], target: Target = HOST) -> LoadedImage:
    """The kernels of some calls, of one model or of many, compiled together: equal symbols are equal kernels."""
    kernels = {call.kernel.symbol: call.kernel for call in calls}
    return LoadedImage(compile_kernels(list(kernels.values()), target))


def run_image(
    image: LoadedImage,
    calls: Iterable[Call],
    feeds: Mapping[str, np.ndarray],
    *,
    chunks: int = 3,
    inplace: bool = False,
) -> dict[Key, np.ndarray]:
    """`run_calls` for kernels that are compiled already."""
    values: dict[Key, GuardedBuffer] = {}
    tensors: dict[Key, Tensor] = {}
    for call in calls:
        reads = [_read(argument, values, feeds) for argument in call.reads]
        shared = dict(call.kernel.inplace) if inplace else {}
        into = {write: read for read, write in shared.items()}
        writes = []
        for position, tensor in enumerate(call.writes, start=len(reads)):
            buffer = reads[into[position]] if position in into else GuardedBuffer(tensor.size_bytes)
            values[key(tensor)], tensors[key(tensor)] = buffer, tensor
            writes.append(buffer)
        _run(image, call.kernel, [*reads, *writes], chunks)
        if not inplace:
            _check_reads(call, reads, feeds)
    return {at: values[at].view(tensor.dtype, tensor.shape).copy() for at, tensor in tensors.items()}


def _read(
    argument: Tensor | Constant, values: dict[Key, GuardedBuffer], feeds: Mapping[str, np.ndarray]
) -> GuardedBuffer:
    if isinstance(argument, Constant):
        return _filled(argument.data)
    if key(argument) not in values:
        array = feeds[argument.name]
        assert array.dtype == argument.dtype and array.size == argument.size, (  # views name axes anew
            f"feed {argument.name!r}: expected {argument.dtype} {argument.shape}, got {array.dtype} {array.shape}"
        )
        values[key(argument)] = _filled(array)
    return values[key(argument)]


def _filled(array: np.ndarray) -> GuardedBuffer:
    buffer = GuardedBuffer(array.nbytes)
    buffer.bytes[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return buffer


def _run(image: LoadedImage, kernel: Kernel, arguments: Sequence[GuardedBuffer], chunks: int) -> None:
    scratch = [GuardedBuffer(kernel.scratch_bytes)] if kernel.scratch_bytes else []
    every = [*arguments, *scratch]
    bounds = sorted({round(kernel.tiles * i / chunks) for i in range(chunks + 1)})
    for begin, end in reversed(list(pairwise(bounds))):
        image.call(kernel.symbol, [buffer.pointer for buffer in every], begin, end)
    for number, buffer in enumerate(every):
        assert buffer.intact(), f"{kernel.symbol} writes behind the end of argument {number}"


def _check_reads(call: Call, reads: Sequence[GuardedBuffer], feeds: Mapping[str, np.ndarray]) -> None:
    for argument, buffer in zip(call.reads, reads, strict=True):
        expected = argument.data if isinstance(argument, Constant) else feeds.get(key(argument))
        if expected is not None:
            same = buffer.bytes.tobytes() == np.ascontiguousarray(expected).tobytes()
            assert same, f"{call.kernel.symbol} changes what it may only read"
