"""Artifacts that are as slow to open as their size allows: many records that name few long things, and many things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesparse.isa import ISAS
from edgesparse.package import records
from edgesparse.package.records import SectionKind
from edgesparse.package.writer import _container
from edgesparse.program import EngineKind, IndexKind, Space
from runtime.build import host_platform

_CODE = bytes(64)
_SHARED_NAME = b"n" * records.MAX_STRING_BYTES


@dataclass
class Draft:
    """The tables of a plan, as bytes, and the sections that they speak of."""

    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    steps: bytes = b""
    args: bytes = b""
    arrays: bytes = b""
    strings: Sequence[bytes] = (_SHARED_NAME,)
    indices: bytes = b""
    weights: bytes = b""

    def artifact(self) -> bytes:
        """The file."""
        starts = np.cumsum([0, *(len(text) + 1 for text in self.strings)])[:-1].astype("<u4").tobytes()
        blob = b"\0".join([*self.strings, b""])
        sizes = (len(self.inputs), len(self.outputs), len(self.steps) // records.STEP.size)
        sizes += (len(self.args) // records.ARG.size, len(self.arrays) // records.ARRAY.size, len(self.strings))
        header = records.PLAN.pack(1, 1, *sizes, len(blob), bytes(92))
        engine = records.ENGINE.pack(EngineKind.CPU, 0, 64, 0, bytes(40))
        image = records.IMAGE.pack(0, ISAS[host_platform()].number, 0, 1, 0, bytes(40))
        tables = [header, engine, image, *self.inputs, *self.outputs, self.steps, self.args, self.arrays, starts, blob]
        plan = b"".join(tables)
        assert len(plan) <= records.MAX_PLAN_BYTES
        sections = [(SectionKind.PLAN, plan), (SectionKind.CODE, _CODE), (SectionKind.INDICES, self.indices)]
        sections.append((SectionKind.WEIGHTS, self.weights))
        return b"".join(_container([(kind, content) for kind, content in sections if content]))


def _steps(count: int, args_each: int) -> bytes:
    table = np.zeros((count, records.STEP.size // 4), "<u4")
    table[:, 5] = 1  # tiles
    table[:, 6] = np.arange(count) * args_each
    table[:, 7] = args_each
    return table.tobytes()


def _arg(space: Space, size: int) -> bytes:
    return records.ARG.pack(space, 0, 0, size, 0, bytes(36))


def _array(kind: IndexKind, dtype: str, offset: int, size: int, limit: int, part: int = 0) -> bytes:
    return records.ARRAY.pack(kind, records.DTYPES[dtype], offset, size, 0, limit, part, 0, bytes(8))


def shared_name(scale: float) -> bytes:
    """Every step, and every argument, has the same long name."""
    steps = int(records.MAX_STEPS * scale)
    return Draft(steps=_steps(steps, 2), args=_arg(Space.ARENA, 64) * (2 * steps)).artifact()


def like_names(scale: float) -> bytes:
    """Names of tensors differ in their last bytes alone."""
    count = int(records.MAX_TENSORS * scale)
    names = [b"n" * 1700 + b"%05d" % number for number in range(2 * count)]
    tensors = [records.TENSOR.pack(number, 4, 0, 0, 0, 1, *[0] * 9, bytes(28)) for number in range(2 * count)]
    return Draft(inputs=tensors[:count], outputs=tensors[count:], strings=names).artifact()


def shared_array(kind: IndexKind, dtype: str) -> Callable[[float], bytes]:
    """Every argument is one large array of indices."""

    def draft(scale: float) -> bytes:
        elements = int(80e6 * scale) // np.dtype(dtype).itemsize
        limit, part = {IndexKind.INDPTR: (0, 0), IndexKind.INDEX: (1, 0), IndexKind.ORDER: (7, 7)}[kind]
        indices = np.zeros(elements, np.dtype(dtype)).tobytes()
        steps = int(records.MAX_STEPS * scale)
        array = _array(kind, dtype, 0, len(indices), limit, part)
        args = _arg(Space.INDICES, len(indices)) * (2 * steps)
        return Draft(steps=_steps(steps, 2), args=args, arrays=array, indices=indices).artifact()

    return draft


def many_arrays(scale: float) -> bytes:
    """As many arrays as a plan holds."""
    count = int(records.MAX_ARRAYS * scale)
    arrays = b"".join(_array(IndexKind.INDPTR, "int32", 64 * number, 4, 0) for number in range(count))
    return Draft(arrays=arrays, indices=bytes(64 * count)).artifact()


def many_args(scale: float) -> bytes:
    """As many arguments as a plan holds."""
    steps = int(4000 * scale)
    return Draft(steps=_steps(steps, 64), args=_arg(Space.ARENA, 64) * (64 * steps)).artifact()


def many_strings(scale: float) -> bytes:
    """As many strings as a plan holds."""
    letters = bytes(range(1, 128))
    count = int(records.MAX_STRINGS * scale)
    names = sorted(bytes([a, b, c]) for a in letters for b in letters for c in letters)[:count]
    return Draft(strings=names).artifact()


def large_weights(scale: float) -> bytes:
    """Nothing but weights."""
    return Draft(weights=bytes(int(100e6 * scale))).artifact()


WORST: dict[str, Callable[[float], bytes]] = {
    "shared name": shared_name,
    "like names": like_names,
    "row pointers": shared_array(IndexKind.INDPTR, "int32"),
    "uint16": shared_array(IndexKind.INDEX, "uint16"),
    "order": shared_array(IndexKind.ORDER, "uint16"),
    "many arrays": many_arrays,
    "many arguments": many_args,
    "many strings": many_strings,
    "weights": large_weights,
}
"""Artifacts by what is slow about them, of about 100 MB, or of as much as a plan holds, times a scale."""
