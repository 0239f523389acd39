"""Read model.esp back, for people and tools; the runtime has a reader of its own."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesparse.errors import PackageError
from edgesparse.inputs import content
from edgesparse.package import layout
from edgesparse.package.check import check, tensor_bytes
from edgesparse.package.layout import SectionFlag, SectionKind
from edgesparse.program import Arg, ArgKind, Program, Space, Step, TensorSpec
from edgesparse.signatures import ARTIFACT

WANTED, COMPILE = "an edgesparse artifact", "compile a model first: edgesparse compile MODEL -o FILE.esp"

_KNOWN_KINDS = frozenset(SectionKind)


@dataclass(frozen=True)
class Artifact:
    """What an artifact holds."""

    version: tuple[int, int]  # major, minor
    program: Program
    manifest: dict[str, Any]  # empty if the artifact has none
    report: bytes | None


def read(path: Path) -> Artifact:
    """Read and check an artifact; all checksums are verified.

    Raises:
        PackageError: the file cannot be read, or is not a valid artifact.
    """
    data = content(Path(path), WANTED, PackageError, ARTIFACT, remedy=COMPILE)
    try:
        return parse(data)
    except PackageError as err:
        raise PackageError(f"{path}: {err}") from err


def parse(data: bytes) -> Artifact:
    """Read and check an artifact that is in memory; all checksums are verified.

    Raises:
        PackageError: it is not a valid artifact.
    """
    version, sections = _read_container(data)
    for kind in (SectionKind.PLAN, SectionKind.CODE):
        _require(bool(sections.get(kind)), f"the {kind.name.lower()} section is missing or empty")
    program = _read_plan(sections[SectionKind.PLAN], sections[SectionKind.CODE], sections.get(SectionKind.WEIGHTS, b""))
    check(program)
    manifest = _read_manifest(sections.get(SectionKind.MANIFEST, b"{}"))
    return Artifact(version, program, manifest, sections.get(SectionKind.REPORT))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


def _read_container(data: bytes) -> tuple[tuple[int, int], dict[SectionKind, bytes]]:
    _require(data.startswith(layout.MAGIC), "is not an edgesparse artifact")
    _require(len(data) >= layout.PREAMBLE.size, f"has {len(data)} bytes, expected at least {layout.PREAMBLE.size}")
    _, major, minor, count, file_bytes, reserved, digest = layout.PREAMBLE.unpack_from(data)
    _require(
        major == layout.MAJOR,
        f"has version {major}.{minor}, expected {layout.MAJOR}.x; compile the model again",
    )
    _require(file_bytes == len(data), f"has {len(data)} bytes, expected {file_bytes}; copy it again")
    _require(count <= layout.MAX_SECTIONS, f"has {count} sections, expected at most {layout.MAX_SECTIONS}")
    _require(not any(reserved), "a reserved byte of the preamble is not zero")
    table = data[layout.PREAMBLE.size : layout.PREAMBLE.size + count * layout.SECTION.size]
    _require(len(table) == count * layout.SECTION.size, "the section table reaches past the end of the file")
    hashed = data[: layout.PREAMBLE_HASHED_BYTES] + table
    _require(hashlib.sha256(hashed).digest() == digest, "the section table is damaged; copy the file again")
    return (major, minor), dict(_read_sections(data, table))


def _read_sections(data: bytes, table: bytes) -> Iterator[tuple[SectionKind, bytes]]:
    end = layout.PREAMBLE.size + len(table)
    seen = set()
    for kind, flags, offset, size, reserved, digest in layout.SECTION.iter_unpack(table):
        where = f"section kind {kind} at byte {offset}"
        _require(
            offset % layout.SECTION_ALIGN == 0 and offset >= end and offset + size <= len(data),
            f"{where}: {size} bytes do not fit there",
        )
        _require(not any(reserved), f"{where}: a reserved byte is not zero")
        end = offset + size
        content = data[offset:end]
        _require(hashlib.sha256(content).digest() == digest, f"{where}: is damaged; copy the file again")
        if kind not in _KNOWN_KINDS:
            _require(not flags & SectionFlag.REQUIRED, f"{where}: is required and unknown; update edgesparse")
            continue
        _require(kind not in seen, f"{where}: another section has the same kind")
        seen.add(kind)
        yield SectionKind(kind), content
    _require(end == len(data), f"the last section ends at byte {end}, the file at {len(data)}")


def _read_manifest(content: bytes) -> dict[str, Any]:
    _require(len(content) <= layout.MAX_MANIFEST_BYTES, f"the manifest has {len(content)} bytes")
    try:
        manifest: Any = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise PackageError(f"the manifest is not JSON: {err}") from err
    if not isinstance(manifest, dict):
        raise PackageError("the manifest is not a JSON object")
    return manifest


@dataclass(frozen=True)
class _Tables:
    """The records of a plan, unpacked, and its strings."""

    tensors: list[tuple[Any, ...]]
    steps: list[tuple[Any, ...]]
    args: list[tuple[Any, ...]]
    strings: bytes

    def text(self, offset: int, size: int) -> str:
        """One string of the blob."""
        encoded = self.strings[offset : offset + size]
        _require(
            len(encoded) == size and self.strings[offset + size : offset + size + 1] == b"\0",
            f"plan: a string of {size} bytes at byte {offset} is outside the blob",
        )
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            raise PackageError(f"plan: the string at byte {offset} is not UTF-8") from None


def _read_plan(plan: bytes, code: bytes, weights: bytes) -> Program:
    _require(layout.PLAN.size <= len(plan) <= layout.MAX_PLAN_BYTES, f"plan: has {len(plan)} bytes")
    isa, reserved, features, arena_bytes, scratch_bytes, *counts, tail = layout.PLAN.unpack_from(plan)
    _require(reserved == 0 and not any(tail), "plan: a reserved byte is not zero")
    input_count, output_count, step_count, arg_count, string_bytes = counts
    tables = _split_tables(plan, input_count + output_count, step_count, arg_count, string_bytes)
    tensors = tuple(_read_tensor(record, tables) for record in tables.tensors)
    return Program(
        isa=_name_of(layout.ISAS, isa, "isa"),
        cpu_features=_read_features(features),
        arena_bytes=arena_bytes,
        scratch_bytes=scratch_bytes,
        inputs=tensors[:input_count],
        outputs=tensors[input_count:],
        steps=tuple(_read_steps(tables)),
        code=code,
        weights=weights,
    )


def _split_tables(plan: bytes, tensor_count: int, step_count: int, arg_count: int, string_bytes: int) -> _Tables:
    tables = []
    position = layout.PLAN.size
    for record, count in ((layout.TENSOR, tensor_count), (layout.STEP, step_count), (layout.ARG, arg_count)):
        end = position + record.size * count
        _require(end <= len(plan), f"plan: has {len(plan)} bytes, its tables need {end} or more")
        tables.append(_unpack_all(record, plan[position:end]))
        position = end
    _require(
        position + string_bytes == len(plan),
        f"plan: has {len(plan)} bytes, its tables need {position + string_bytes}",
    )
    tensors, steps, args = tables
    return _Tables(tensors, steps, args, strings=plan[position:])


def _unpack_all(record: struct.Struct, table: bytes) -> list[tuple[Any, ...]]:
    return list(record.iter_unpack(table))


def _name_of(codes: dict[str, int], code: int, what: str) -> str:
    names = [name for name, value in codes.items() if value == code]
    _require(bool(names), f"plan: has the unknown {what} {code}; update edgesparse")
    return names[0]


def _read_features(mask: int) -> tuple[str, ...]:
    features = tuple(name for name, bit in layout.CPU_FEATURE_BITS.items() if mask >> bit & 1)
    known = sum(1 << bit for bit in layout.CPU_FEATURE_BITS.values())
    _require(mask & ~known == 0, f"plan: has unknown CPU features ({mask & ~known:#x}); update edgesparse")
    return features


def _read_tensor(record: tuple[Any, ...], tables: _Tables) -> TensorSpec:
    name_offset, name_size, dtype, rank, offset, size, *dims = record
    name = tables.text(name_offset, name_size)
    _require(rank <= layout.MAX_RANK and not any(dims[rank:]), f"tensor {name!r}: has an invalid rank {rank}")
    tensor = TensorSpec(name, _name_of(layout.DTYPES, dtype, "element type"), tuple(dims[:rank]), offset)
    _require(tensor_bytes(tensor) == size, f"tensor {name!r}: has {size} bytes, expected {tensor_bytes(tensor)}")
    return tensor


def _read_steps(tables: _Tables) -> Iterator[Step]:
    used = 0
    for *names, first_arg, arg_count, code_offset, tiles, reserved in tables.steps:
        name, op, kernel = (tables.text(*names[at : at + 2]) for at in (0, 2, 4))
        _require(
            first_arg == used and used + arg_count <= len(tables.args) and reserved == 0,
            f"step {name!r}: has {arg_count} arguments from {first_arg}, expected them from {used}",
        )
        args = tuple(_read_arg(name, record, tables) for record in tables.args[used : used + arg_count])
        used += arg_count
        yield Step(name, op, kernel, code_offset, tiles, args)
    _require(used == len(tables.args), f"plan: has {len(tables.args)} arguments, its steps use {used}")


def _read_arg(step: str, record: tuple[Any, ...], tables: _Tables) -> Arg:
    space, kind, offset, size, limit, *name, reserved = record
    _require(not any(reserved), f"step {step!r}: a reserved byte of an argument is not zero")
    try:
        return Arg(Space(space), offset, size, ArgKind(kind), limit, tables.text(*name))
    except ValueError as err:
        raise PackageError(f"step {step!r}: an argument has an unknown space or kind: {err}") from err
