"""Check a program as the runtime will: what it refuses is never written, and what is read is sound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgesparse.errors import PackageError
from edgesparse.package import layout
from edgesparse.program import Arg, ArgKind, Program, Space, Step, TensorSpec

_SPACE_NAMES = {Space.ARENA: "arena", Space.WEIGHTS: "weights", Space.SCRATCH: "scratch buffer"}
_INDEX_DTYPES = {ArgKind.INDEX_U16: "<u2", ArgKind.INDEX_I32: "<i4"}


def check(program: Program) -> None:
    """Check that every offset, size, name and index of a program is valid.

    Raises:
        PackageError: one is not; the message says which.
    """
    _check_header(program)
    _check_tensors("input", program.inputs, program.arena_bytes)
    _check_tensors("output", program.outputs, program.arena_bytes)
    for index, step in enumerate(program.steps):
        _check_step(f"step {index} {step.name!r}", step, program)


def tensor_bytes(tensor: TensorSpec) -> int:
    """Bytes that a dense tensor needs."""
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


def _check_header(program: Program) -> None:
    unknown = [name for name in program.cpu_features if name not in layout.CPU_FEATURE_BITS]
    _require(program.isa in layout.ISAS, f"isa {program.isa!r} is unknown, expected one of {', '.join(layout.ISAS)}")
    _require(
        not unknown,
        f"CPU features {', '.join(unknown)} are unknown, expected some of {', '.join(layout.CPU_FEATURE_BITS)}",
    )
    for what, count, limit in (
        ("bytes of arena", program.arena_bytes, layout.MAX_ARENA_BYTES),
        ("bytes of scratch", program.scratch_bytes, layout.MAX_SCRATCH_BYTES),
        ("bytes of code", len(program.code), layout.MAX_CODE_BYTES),
        ("inputs", len(program.inputs), layout.MAX_TENSORS),
        ("outputs", len(program.outputs), layout.MAX_TENSORS),
        ("steps", len(program.steps), layout.MAX_STEPS),
    ):
        _require(0 <= count <= limit, f"the program has {count} {what}, expected at most {limit}")
    _require(len(program.code) > 0, "the program has no code")


def _check_name(where: str, name: str) -> None:
    _require("\0" not in name, f"{where}: the name {name!r} holds a NUL character")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackageError(f"{where}: the name {name!r} is not valid Unicode") from None


def _check_tensors(owner: str, tensors: Sequence[TensorSpec], arena_bytes: int) -> None:
    names = set()
    for tensor in tensors:
        where = f"{owner} {tensor.name!r}"
        _check_name(where, tensor.name)
        _require(tensor.name not in names, f"{where}: another {owner} has the same name")
        names.add(tensor.name)
        _require(
            tensor.dtype in layout.DTYPES,
            f"{where}: has element type {tensor.dtype!r}, expected one of {', '.join(layout.DTYPES)}",
        )
        _require(
            len(tensor.shape) <= layout.MAX_RANK,
            f"{where}: has {len(tensor.shape)} dimensions, expected at most {layout.MAX_RANK}",
        )
        _require(all(0 <= dim < 2**32 for dim in tensor.shape), f"{where}: has the shape {tensor.shape}")
        _check_range(where, tensor.offset_bytes, tensor_bytes(tensor), "arena", arena_bytes)


def _check_range(where: str, offset: int, size: int, space: str, space_bytes: int) -> None:
    _require(
        offset >= 0 and offset % layout.DATA_ALIGN == 0,
        f"{where}: starts at byte {offset}, which is not a multiple of {layout.DATA_ALIGN}",
    )
    _require(
        size >= 0 and offset + size <= space_bytes,
        f"{where}: has {size} bytes at byte {offset}, past the end of the {space} ({space_bytes} bytes)",
    )


def _check_step(where: str, step: Step, program: Program) -> None:
    for text in (step.name, step.op, step.kernel):
        _check_name(where, text)
    code_align = 1 if program.isa == "x86_64" else 4
    _require(
        0 <= step.code_offset < len(program.code) and step.code_offset % code_align == 0,
        f"{where}: its kernel is at byte {step.code_offset}, "
        f"which is no instruction of the code ({len(program.code)} bytes)",
    )
    _require(1 <= step.tiles < 2**31, f"{where}: has {step.tiles} tiles, expected 1 to {2**31 - 1}")
    _require(
        len(step.args) <= layout.MAX_STEP_ARGS,
        f"{where}: has {len(step.args)} arguments, expected at most {layout.MAX_STEP_ARGS}",
    )
    for index, arg in enumerate(step.args):
        _check_arg(f"{where}: argument {index}", arg, program)


def _check_arg(where: str, arg: Arg, program: Program) -> None:
    space_bytes = {
        Space.ARENA: program.arena_bytes,
        Space.WEIGHTS: len(program.weights),
        Space.SCRATCH: program.scratch_bytes,
    }[arg.space]
    _check_name(where, arg.name)
    _check_range(where, arg.offset_bytes, arg.size_bytes, _SPACE_NAMES[arg.space], space_bytes)
    if arg.kind == ArgKind.DATA:
        _require(arg.limit == 0, f"{where}: is plain data with a limit of {arg.limit}, expected 0")
        return
    _require(arg.space == Space.WEIGHTS, f"{where}: holds indices outside the weights, where they could change")
    content = memoryview(program.weights)[arg.offset_bytes : arg.offset_bytes + arg.size_bytes]
    if arg.kind == ArgKind.INDPTR_I32:
        _check_indptr(where, content, arg.limit)
    else:
        _check_indices(where, content, np.dtype(_INDEX_DTYPES[arg.kind]), arg.limit)


def _check_indptr(where: str, content: memoryview, limit: int) -> None:
    _require(
        len(content) > 0 and len(content) % 4 == 0,
        f"{where}: has {len(content)} bytes of row pointers, expected a multiple of 4 above 0",
    )
    indptr = np.frombuffer(content, "<i4")
    _require(indptr[0] == 0, f"{where}: has row pointers that do not start at 0")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    _require(falls.size == 0, f"{where}: has row pointers that fall at element {falls[:1].sum() + 1}")
    _require(indptr[-1] == limit, f"{where}: has row pointers that end at {indptr[-1]}, expected {limit}")


def _check_indices(where: str, content: memoryview, dtype: np.dtype, limit: int) -> None:
    _require(
        len(content) % dtype.itemsize == 0,
        f"{where}: has {len(content)} bytes of indices, expected a multiple of {dtype.itemsize}",
    )
    indices = np.frombuffer(content, dtype)
    wrong = np.flatnonzero((indices < 0) | (indices >= limit))
    if wrong.size:
        at = int(wrong[0])
        raise PackageError(f"{where}: has index {indices[at]} at element {at}, expected less than {limit}")
