"""Sections of arrays in which equal ones are stored once, within a program and among several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgesparse.package import records
from edgesparse.program import OVERREAD_BYTES, Arg, IndexArray, Program, Space


class Arrays:
    """A section of arrays while it grows."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._offsets: dict[tuple[bytes, object], int] = {}

    def place(self, data: bytes, fact: object = None) -> int:
        """Offset of an array; of equal ones, with equal facts, there is one."""
        offset = self._offsets.get((data, fact))
        if offset is None:
            offset = self._offsets[data, fact] = self._size_bytes
            self._parts.append(data.ljust(records.align_up(len(data), records.DATA_ALIGN), b"\0"))
            self._size_bytes += len(self._parts[-1])
        return offset

    def pack(self) -> bytes:
        """The section, with room for kernels that load past its last array."""
        return b"".join([*self._parts, bytes(OVERREAD_BYTES)]) if self._parts else b""


def shared(programs: Sequence[Program]) -> tuple[Program, ...]:
    """The same programs over one set of weights and one of indices."""
    if len(programs) == 1:
        return tuple(programs)
    weights, indices = Arrays(), Arrays()
    moved = [_moved(program, weights, indices) for program in programs]
    return tuple(replace(program, weights=weights.pack(), indices=indices.pack()) for program in moved)


def _moved(program: Program, weights: Arrays, indices: Arrays) -> Program:
    """A program whose arguments point into the sections to which its arrays are added."""
    placed = [
        replace(array, offset_bytes=indices.place(_content(program.indices, array), array.bound))
        for array in program.arrays
    ]
    order = sorted(range(len(placed)), key=lambda number: (placed[number].offset_bytes, placed[number].size_bytes))
    numbers = {old: new for new, old in enumerate(order)}

    def moved(arg: Arg) -> Arg:
        if arg.space == Space.WEIGHTS:
            return replace(arg, offset_bytes=weights.place(_content(program.weights, arg)))
        if arg.space == Space.INDICES:
            return replace(arg, offset_bytes=placed[arg.array].offset_bytes, array=numbers[arg.array])
        return arg

    steps = tuple(replace(step, args=tuple(map(moved, step.args))) for step in program.steps)
    return replace(program, steps=steps, arrays=tuple(placed[old] for old in order))


def _content(section: bytes, of: Arg | IndexArray) -> bytes:
    return section[of.offset_bytes : of.offset_bytes + of.size_bytes]
