"""Check a program as the runtime will: what it refuses is never written, and what is read is sound."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from edgesparse.errors import PackageError
from edgesparse.isa import FEATURE_BITS, ISAS
from edgesparse.package import records
from edgesparse.program import (
    MAX_ARENA_BYTES,
    MAX_STEP_ARGS,
    Arg,
    Bound,
    Image,
    IndexKind,
    Program,
    Space,
    Step,
    TensorSpec,
)

_CHUNK = 1 << 16  # elements that are compared at a time
_SPACE_NAMES = {
    Space.ARENA: "arena",
    Space.WEIGHTS: "weights",
    Space.SCRATCH: "scratch buffer",
    Space.INDICES: "indices",
}
_INDEX_DTYPES = {
    IndexKind.INDPTR: ("int32",),
    IndexKind.INDEX: ("uint16", "int32", "int64"),
    IndexKind.ORDER: ("uint16", "int32"),
}


def check(program: Program) -> None:
    """Check that every offset, size, name and index of a program is valid.

    Raises:
        PackageError: one is not; the message says which.
    """
    _check_header(program)
    arena_bytes = program.engines[0].arena_bytes
    _check_tensors("input", program.inputs, arena_bytes)
    _check_tensors("output", program.outputs, arena_bytes)
    _check_arrays(program)
    check_labels(program.labels, [math.prod(tensor.shape) for tensor in program.outputs])
    names: set[str] = {""}  # that are checked: steps share them
    for index, step in enumerate(program.steps):
        _check_step(index, step, program, names)


def check_alike(programs: Sequence[Program]) -> None:
    """Check that the programs of an artifact take and give the same, wherever it lies in their arenas.

    Raises: PackageError: they do not.
    """
    signatures = [
        [[replace(tensor, offset_bytes=0) for tensor in tensors] for tensors in (program.inputs, program.outputs)]
        for program in programs
    ]
    for number, signature in enumerate(signatures):
        _require(signature == signatures[0], f"plan {number}: has other inputs or outputs than plan 0")


def tensor_bytes(tensor: TensorSpec) -> int:
    """Bytes that a dense tensor needs."""
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


def _check_header(program: Program) -> None:
    _require(len(program.engines) == 1, f"the program needs {len(program.engines)} engines, expected one")
    _require(len(program.images) == 1, f"the program has {len(program.images)} images of code, expected one")
    (engine,), (image,) = program.engines, program.images
    _check_image(image)
    for what, count, limit in (
        ("bytes of arena", engine.arena_bytes, MAX_ARENA_BYTES),
        ("bytes of scratch", engine.scratch_bytes, records.MAX_SCRATCH_BYTES),
        ("bytes of code", len(image.code), records.MAX_CODE_BYTES),
        ("inputs", len(program.inputs), records.MAX_TENSORS),
        ("outputs", len(program.outputs), records.MAX_TENSORS),
        ("steps", len(program.steps), records.MAX_STEPS),
        ("index arrays", len(program.arrays), records.MAX_ARRAYS),
    ):
        _require(0 <= count <= limit, f"the program has {count} {what}, expected at most {limit}")
    _require(len(image.code) > 0, "the program has no code")


def _check_image(image: Image) -> None:
    unknown = [name for name in image.cpu_features if name not in FEATURE_BITS]
    _require(image.isa in ISAS, f"isa {image.isa!r} is unknown, expected one of {', '.join(ISAS)}")
    _require(
        not unknown,
        f"CPU features {', '.join(unknown)} are unknown, expected some of {', '.join(FEATURE_BITS)}",
    )
    _require(image.engine == 0, f"the code is for engine {image.engine}, which the program does not have")
    _require(0 <= image.core < 2**32, f"the code is for core {image.core}, expected 0 to {2**32 - 1}")


def _check_name(where: str, name: str) -> None:
    _require("\0" not in name, f"{where}: the name {name!r} holds a NUL character")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise PackageError(f"{where}: the name {name!r} is not valid Unicode") from None
    if size > records.MAX_STRING_BYTES:
        raise PackageError(f"{where}: a name has {size} bytes, expected at most {records.MAX_STRING_BYTES}")


def _check_tensors(owner: str, tensors: Sequence[TensorSpec], arena_bytes: int) -> None:
    names = set()
    for tensor in tensors:
        where = f"{owner} {tensor.name!r}"
        _check_name(where, tensor.name)
        _require(tensor.name not in names, f"{where}: another {owner} has the same name")
        names.add(tensor.name)
        _require(
            tensor.dtype in records.DTYPES,
            f"{where}: has element type {tensor.dtype!r}, expected one of {', '.join(records.DTYPES)}",
        )
        _require(
            len(tensor.shape) <= records.MAX_RANK,
            f"{where}: has {len(tensor.shape)} dimensions, expected at most {records.MAX_RANK}",
        )
        _require(all(0 <= dim < 2**32 for dim in tensor.shape), f"{where}: has the shape {tensor.shape}")
        _check_picture(where, tensor)
        _check_range(where, tensor.offset_bytes, tensor_bytes(tensor), "arena", arena_bytes)


def _check_picture(where: str, tensor: TensorSpec) -> None:
    kind, shape = tensor.picture, tensor.shape
    _require(kind in records.PICTURES, f"{where}: is a picture of the unknown kind {kind!r}")
    fits = len(shape) == 2 if kind == "grey" else len(shape) == 3 and shape[0 if kind.endswith("planes") else 2] == 3
    _require(
        not kind or (fits and tensor.dtype == "uint8"), f"{where}: has neither the shape nor the type of a picture"
    )


def check_labels(labels: Sequence[str], elements: Sequence[int]) -> None:
    """Check that labels can be shown, and are as many as an output has elements.

    Raises: PackageError: they are not.
    """
    total = 0
    for number, label in enumerate(labels):
        size = len(label.encode(errors="surrogatepass"))
        total += size + 1
        _require(size <= records.MAX_LABEL_BYTES, f"label {number}: has {size} bytes, expected at most 1024")
        plain = not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in label)
        _require(plain, f"label {number}: {label!r} holds what is no text")
    limit = records.MAX_LABELS_BYTES
    _require(total <= limit, f"labels: have {total} bytes, expected at most {limit}")
    listed = ", ".join(map(str, elements)) or "none"
    _require(
        not labels or len(labels) in elements,
        f"labels: got {len(labels)}, expected as many as an output has elements: {listed}",
    )


def _check_range(where: str, offset: int, size: int, space: str, space_bytes: int) -> None:
    _require(
        offset >= 0 and offset % records.DATA_ALIGN == 0,
        f"{where}: starts at byte {offset}, which is not a multiple of {records.DATA_ALIGN}",
    )
    _require(
        size >= 0 and offset + size <= space_bytes,
        f"{where}: has {size} bytes at byte {offset}, past the end of the {space} ({space_bytes} bytes)",
    )


def _check_step(index: int, step: Step, program: Program, names: set[str]) -> None:
    """Words its messages only if something is wrong, as `_check_arg` does: steps are many, and names may be long."""

    def fail(message: str) -> NoReturn:
        raise PackageError(f"step {index} {step.name!r}: {message}")

    for text in (step.name, step.op, step.kernel):
        if text not in names:
            _check_name(f"step {index} {step.name!r}", text)
            names.add(text)
    (image,) = program.images
    code_bytes, code_align = len(image.code), ISAS[image.isa].code_align
    if step.image:
        fail(f"its kernel is in image {step.image}, the program has 1")
    if not 0 <= step.code_offset < code_bytes or step.code_offset % code_align:
        fail(f"its kernel is at byte {step.code_offset}, which is no instruction of the code ({code_bytes} bytes)")
    if not 1 <= step.tiles < 2**31:
        fail(f"has {step.tiles} tiles, expected 1 to {2**31 - 1}")
    if len(step.args) > MAX_STEP_ARGS:
        fail(f"has {len(step.args)} arguments, expected at most {MAX_STEP_ARGS}")
    for number, arg in enumerate(step.args):
        _check_arg((index, step, number), arg, program, names)


def _check_arg(site: tuple[int, Step, int], arg: Arg, program: Program, names: set[str]) -> None:
    def where() -> str:
        index, step, number = site
        return f"step {index} {step.name!r}: argument {number}"

    space_bytes = _space_bytes(program, arg.space)
    sound = arg.offset_bytes >= 0 and arg.offset_bytes % records.DATA_ALIGN == 0 and arg.size_bytes >= 0
    if not sound or arg.offset_bytes + arg.size_bytes > space_bytes:
        _check_range(where(), arg.offset_bytes, arg.size_bytes, _SPACE_NAMES[arg.space], space_bytes)
    if arg.name not in names:
        _check_name(where(), arg.name)
        names.add(arg.name)
    if arg.space != Space.INDICES:
        if arg.array:
            raise PackageError(f"{where()}: names index array {arg.array}, but is not in the indices")
        return
    arrays = program.arrays
    found = arrays[arg.array] if arg.array < len(arrays) else None
    if found is None or (found.offset_bytes, found.size_bytes) != (arg.offset_bytes, arg.size_bytes):
        raise PackageError(f"{where()}: is not index array {arg.array}, of which it must be all")


def _space_bytes(program: Program, space: Space) -> int:
    if space == Space.ARENA:
        return program.engines[0].arena_bytes
    if space == Space.SCRATCH:
        return program.engines[0].scratch_bytes
    return len(program.weights if space == Space.WEIGHTS else program.indices)


def _check_arrays(program: Program) -> None:
    end = 0
    for number, array in enumerate(program.arrays):
        where = f"index array {number}"
        _check_range(where, array.offset_bytes, array.size_bytes, "indices", len(program.indices))
        _require(array.offset_bytes >= end, f"{where}: starts at byte {array.offset_bytes}, before byte {end}")
        end = array.offset_bytes + array.size_bytes
        _check_bound(where, memoryview(program.indices)[array.offset_bytes : end], array.bound)


def _check_bound(where: str, content: memoryview, bound: Bound) -> None:
    allowed = _INDEX_DTYPES[bound.kind]
    _require(
        bound.dtype in allowed,
        f"{where}: holds {bound.dtype}, which indices of its kind ({', '.join(allowed)}) are not",
    )
    dtype = np.dtype(bound.dtype).newbyteorder("<")
    _require(
        len(content) % dtype.itemsize == 0,
        f"{where}: has {len(content)} bytes, expected a multiple of {dtype.itemsize}",
    )
    _require(
        all(0 <= fact < 2**63 for fact in (bound.limit, bound.part, bound.part_limit)) and bound.lowest >= -(2**63),
        f"{where}: has a limit out of range",
    )
    _require(bound.lowest == 0 or bound.kind == IndexKind.INDEX, f"{where}: has a lowest value, expected none")
    indices = np.frombuffer(content, dtype)
    _CHECKS[bound.kind](where, indices, bound)


def _check_indptr(where: str, indptr: np.ndarray, bound: Bound) -> None:
    _require(indptr.size > 0 and indptr[0] == 0, f"{where}: has row pointers that do not start at 0")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    _require(falls.size == 0, f"{where}: has row pointers that fall at element {falls[:1].sum() + 1}")
    _require(indptr[-1] == bound.limit, f"{where}: has row pointers that end at {indptr[-1]}, expected {bound.limit}")
    _require(
        bound.part < indptr.size and indptr[bound.part] == bound.part_limit,
        f"{where}: element {bound.part} is not {bound.part_limit}",
    )


def _check_indices(where: str, indices: np.ndarray, bound: Bound) -> None:
    _require(bound.part <= indices.size, f"{where}: has {indices.size} elements, its second part is from {bound.part}")
    _require_within(where, indices, 0, (bound.lowest, bound.limit))
    if bound.part_limit:
        _require_within(where, indices[bound.part :], bound.part, (bound.lowest, bound.part_limit))


def _check_order(where: str, order: np.ndarray, bound: Bound) -> None:
    _require(bound.part > 0 and bound.part_limit == 0, f"{where}: is cut into parts of {bound.part} elements")
    _require_within(where, order, 0, (0, bound.limit))
    period = min(bound.limit, order.size)
    starts = (np.arange(period) // bound.part * bound.part).astype(np.int32)  # of the part that each place is in
    starts = np.tile(starts, max(1, _CHUNK // max(period, 1)))
    for first in range(0, order.size, max(starts.size, 1)):
        chunk = order[first : first + starts.size]
        inside = (chunk - starts[: chunk.size]).view(np.uint32)  # what is below 0 is large
        if inside.size and inside.max() >= bound.part:
            at = first + int(np.flatnonzero(inside >= bound.part)[0])
            raise PackageError(f"{where}: has an index of another part at element {at}")


def _require_within(where: str, indices: np.ndarray, first: int, limits: tuple[int, int]) -> None:
    if indices.size and not (limits[0] <= indices.min() and indices.max() < limits[1]):
        at = int(np.flatnonzero((indices < limits[0]) | (indices >= limits[1]))[0])
        raise PackageError(
            f"{where}: has index {indices[at]} at element {first + at}, expected {limits[0]} or more and less than "
            f"{limits[1]}"
        )


_CHECKS = {IndexKind.INDPTR: _check_indptr, IndexKind.INDEX: _check_indices, IndexKind.ORDER: _check_order}
