"""Placement of every value in one arena, by lifetime.

Source: greedy by size, Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference",
arXiv:2001.03288.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.backends.cpu.kernel import ALIGNMENT_BYTES, Call, Memory, Tensor
from edgesparse.errors import InternalError
from edgesparse.program import OVERREAD_BYTES


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset of each memory, and the size of the arena."""

    offsets: dict[Memory, int]
    size_bytes: int


@dataclass
class _Storage:
    """Memory that one tensor, or a chain of tensors written in place, lives in."""

    size_bytes: int
    first: int  # call that writes it; -1 for a model input
    last: int  # last call that reads it
    offset: int = -1


def align(size_bytes: int) -> int:
    """Round up to the alignment of kernel arguments."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def plan_arena(calls: Sequence[Call], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> ArenaPlan:
    """Place every tensor; two share memory only if their lifetimes are apart, or one is written over the other.

    Inputs live from before the first call, outputs until after the last one.
    """
    storages: dict[Memory, _Storage] = {t.memory: _Storage(t.size_bytes, -1, -1) for t in inputs}
    last_read = _last_reads(calls, outputs)
    for i, call in enumerate(calls):
        over = {write: read for read, write in call.kernel.inplace}
        for w, tensor in enumerate(call.writes):
            if tensor.memory in storages:
                raise InternalError(f"value {tensor.name!r} is written twice, by call {call.name!r}")
            source = _dying(call, over.get(len(call.reads) + w), i, last_read, tensor)
            if source is not None and storages[source].last <= i:
                storages[tensor.memory] = storages[source]
            else:
                storages[tensor.memory] = _Storage(tensor.size_bytes, i, i)
        for tensor in [*_tensors(call), *call.writes]:
            if tensor.memory not in storages:
                raise InternalError(f"call {call.name!r} reads {tensor.name!r} before it is written")
            storages[tensor.memory].last = max(storages[tensor.memory].last, last_read.get(tensor.memory, i))
    for tensor in outputs:
        if tensor.memory not in storages:
            raise InternalError(f"output {tensor.name!r} is never written")
        storages[tensor.memory].last = len(calls)
    size = _place(list({id(s): s for s in storages.values()}.values()))
    return ArenaPlan({memory: s.offset for memory, s in storages.items()}, size + OVERREAD_BYTES)


def _tensors(call: Call) -> list[Tensor]:
    return [t for t in call.reads if isinstance(t, Tensor)]


def _last_reads(calls: Sequence[Call], outputs: Sequence[Tensor]) -> dict[Memory, int]:
    last = {t.memory: i for i, call in enumerate(calls) for t in _tensors(call)}
    return last | {t.memory: len(calls) for t in outputs}


def _dying(call: Call, read: int | None, i: int, last_read: dict[Memory, int], write: Tensor) -> Memory | None:
    """The read that `write` may lie over: of its size, last read by this call, read there only once."""
    if read is None:
        return None
    source = call.reads[read]
    if not isinstance(source, Tensor) or source.size_bytes != write.size_bytes or last_read[source.memory] != i:
        return None
    return source.memory if sum(t.memory == source.memory for t in _tensors(call)) == 1 else None


def _place(storages: list[_Storage]) -> int:
    """Give each storage the lowest free offset, large ones first; returns the end of the highest."""
    placed: list[_Storage] = []
    end = 0
    for storage in sorted(storages, key=lambda s: (-s.size_bytes, s.first)):
        overlapping = sorted(
            (s for s in placed if s.first <= storage.last and storage.first <= s.last), key=lambda s: s.offset
        )
        offset = 0
        for other in overlapping:
            if offset + storage.size_bytes <= other.offset:
                break
            offset = max(offset, align(other.offset + other.size_bytes))
        storage.offset = offset
        placed.append(storage)
        end = max(end, align(offset + storage.size_bytes))
    return end
