"""Read model.esp back, for people and tools; the runtime has a reader of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn

from edgesparse.errors import PackageError
from edgesparse.inputs import content
from edgesparse.isa import FEATURE_BITS, ISAS
from edgesparse.package import records
from edgesparse.package.answers import Answers, decode
from edgesparse.package.check import check, check_alike, tensor_bytes
from edgesparse.package.manifest import of_plan
from edgesparse.package.records import SectionFlag, SectionKind
from edgesparse.program import (
    Arg,
    Bound,
    Engine,
    EngineKind,
    Image,
    IndexArray,
    IndexKind,
    Program,
    Space,
    Step,
    TensorSpec,
)
from edgesparse.signatures import ARTIFACT

WANTED, COMPILE = "an edgesparse artifact", "compile a model first: edgesparse compile MODEL -o FILE.esp"

MOST_NESTED = 64
"""Objects and lists of a manifest within each other."""

_KNOWN_KINDS = frozenset(SectionKind)


@dataclass(frozen=True)
class Artifact:
    """What an artifact holds."""

    version: tuple[int, int]  # major, minor
    programs: tuple[Program, ...]  # the best first
    manifest: dict[str, Any]  # empty if the artifact has none
    report: bytes | None
    answers: tuple[Answers, ...] = ()  # to made-up inputs

    def alone(self, number: int) -> Artifact:
        """What an artifact with one of the plans would hold; itself where there is but one."""
        if len(self.programs) == 1:
            return self
        manifest = {**self.manifest, "plans": [dict(of_plan(self.manifest, number))]}
        return replace(self, programs=(self.programs[number],), manifest=manifest)


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
    try:
        return _read(version, sections)
    except PackageError as err:
        if version <= (records.MAJOR, records.MINOR):
            raise
        known = f"{records.MAJOR}.{records.MINOR}"
        words = f"has version {version[0]}.{version[1]}, this edgesparse knows {known} ({err}); update edgesparse"
        raise PackageError(words) from err


def _read(version: tuple[int, int], sections: Sequence[_Section]) -> Artifact:
    for kind in (SectionKind.PLAN, SectionKind.CODE):
        filled = any(section.kind == kind and section.content for section in sections)
        _require(filled, f"the {kind.name.lower()} section is missing or empty")
    contents = {section.kind: section.content for section in sections}
    plans = (section.content for section in sections if section.kind == SectionKind.PLAN)
    programs = tuple(_read_plan(plan, sections, contents) for plan in plans)
    for program in programs:
        check(program)
    check_alike(programs)
    manifest = _read_manifest(contents.get(SectionKind.MANIFEST) or b"{}")
    answers = decode(contents.get(SectionKind.ANSWERS, b""), len(programs[0].outputs))
    return Artifact(version, programs, manifest, contents.get(SectionKind.REPORT), answers)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


@dataclass(frozen=True)
class _Section:
    number: int  # in the table
    kind: SectionKind
    content: bytes


def _read_container(data: bytes) -> tuple[tuple[int, int], list[_Section]]:
    _require(data.startswith(records.MAGIC), "is not an edgesparse artifact")
    _require(len(data) >= records.PREAMBLE.size, f"has {len(data)} bytes, expected at least {records.PREAMBLE.size}")
    _, major, minor, count, file_bytes, reserved, digest = records.PREAMBLE.unpack_from(data)
    _require(
        major == records.MAJOR,
        f"has version {major}.{minor}, expected {records.MAJOR}.x; compile the model again",
    )
    _require(file_bytes == len(data), f"has {len(data)} bytes, expected {file_bytes}; copy it again")
    _require(count <= records.MAX_SECTIONS, f"has {count} sections, expected at most {records.MAX_SECTIONS}")
    _require(not any(reserved), "a reserved byte of the preamble is not zero")
    table = data[records.PREAMBLE.size : records.PREAMBLE.size + count * records.SECTION.size]
    _require(len(table) == count * records.SECTION.size, "the section table reaches past the end of the file")
    hashed = data[: records.PREAMBLE_HASHED_BYTES] + table
    _require(hashlib.sha256(hashed).digest() == digest, "the section table is damaged; copy the file again")
    return (major, minor), list(_read_sections(data, table))


def _read_sections(data: bytes, table: bytes) -> Iterator[_Section]:
    end = records.PREAMBLE.size + len(table)
    seen = set[int]()
    for number, (kind, flags, offset, size, reserved, digest) in enumerate(records.SECTION.iter_unpack(table)):
        where = f"section kind {kind} at byte {offset}"
        _require(
            offset % records.SECTION_ALIGN == 0 and offset >= end and offset + size <= len(data),
            f"{where}: {size} bytes do not fit there",
        )
        _require(not any(reserved), f"{where}: a reserved byte is not zero")
        end = offset + size
        content = data[offset:end]
        _require(hashlib.sha256(content).digest() == digest, f"{where}: is damaged; copy the file again")
        if kind not in _KNOWN_KINDS:
            _require(not flags & SectionFlag.REQUIRED, f"{where}: is required and unknown; update edgesparse")
            continue
        most = records.MAX_BYTES.get(kind, size)
        _require(size <= most, f"{where}: has {size} bytes, expected at most {most}")
        _require(kind not in seen or kind in records.MANY, f"{where}: another section has the same kind")
        seen.add(kind)
        yield _Section(number, SectionKind(kind), content)
    _require(end == len(data), f"the last section ends at byte {end}, the file at {len(data)}")


def _read_manifest(content: bytes) -> dict[str, Any]:
    try:
        manifest: Any = json.loads(content, parse_constant=_no_number)
        json.dumps(manifest, ensure_ascii=False).encode()  # half characters are no text
    except (ValueError, RecursionError) as err:
        raise PackageError(f"the manifest is not JSON: {err}") from err
    if not isinstance(manifest, dict):
        raise PackageError("the manifest is not a JSON object")
    _require(_depth(manifest) <= MOST_NESTED, f"the manifest is nested more than {MOST_NESTED} deep")
    return manifest


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _depth(value: Any) -> int:
    """How deep objects and lists are nested."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth


@dataclass(frozen=True)
class _Tables:
    """The records of a plan, unpacked, and its strings."""

    engines: list[tuple[Any, ...]]
    images: list[tuple[Any, ...]]
    tensors: list[tuple[Any, ...]]
    steps: list[tuple[Any, ...]]
    args: list[tuple[Any, ...]]
    arrays: list[tuple[Any, ...]]
    strings: list[str]

    def text(self, number: int) -> str:
        """One of the strings."""
        if number >= len(self.strings):
            raise PackageError(f"plan: names string {number}, it has {len(self.strings)}")
        return self.strings[number]


def _read_plan(plan: bytes, sections: Sequence[_Section], contents: Mapping[SectionKind, bytes]) -> Program:
    _require(records.PLAN.size <= len(plan) <= records.MAX_PLAN_BYTES, f"plan: has {len(plan)} bytes")
    counts = records.PLAN.unpack_from(plan)
    input_count = counts[2]
    tables = _split_tables(plan, counts)
    tensors = tuple(_read_tensor(record, tables) for record in tables.tensors)
    codes = {section.number: section.content for section in sections if section.kind == SectionKind.CODE}
    return Program(
        engines=(_read_engine(tables.engines),),
        images=(_read_image(tables.images, codes),),
        inputs=tensors[:input_count],
        outputs=tensors[input_count:],
        steps=tuple(_read_steps(tables)),
        weights=contents.get(SectionKind.WEIGHTS, b""),
        indices=contents.get(SectionKind.INDICES, b""),
        arrays=tuple(map(_read_array, tables.arrays)),
        labels=_read_labels(contents.get(SectionKind.LABELS, b"")),
    )


def _split_tables(plan: bytes, header: tuple[Any, ...]) -> _Tables:
    engines, images, inputs, outputs, steps, args, arrays, strings, string_bytes, reserved = header
    _require(not any(reserved), "plan: a reserved byte is not zero")
    _require(strings <= records.MAX_STRINGS, f"plan: has {strings} strings, expected at most {records.MAX_STRINGS}")
    kinds = (records.ENGINE, records.IMAGE, records.TENSOR, records.STEP, records.ARG, records.ARRAY, records.STRING)
    counts = (engines, images, inputs + outputs, steps, args, arrays, strings)
    ends = list(accumulate((r.size * count for r, count in zip(kinds, counts, strict=True)), initial=records.PLAN.size))
    _require(
        ends[-1] + string_bytes == len(plan), f"plan: has {len(plan)} bytes, its tables need {ends[-1] + string_bytes}"
    )
    found: list[Any] = [
        list(r.iter_unpack(plan[begin:end])) for r, (begin, end) in zip(kinds, pairwise(ends), strict=True)
    ]
    found[-1] = _read_strings([start for (start,) in found[-1]], plan[ends[-1] :])
    return _Tables(*found)


def _read_strings(starts: list[int], blob: bytes) -> list[str]:
    """All strings; what is equal has one number, so names need no other comparison."""
    bounds = [*starts, len(blob)]
    _require(bounds[0] == 0, "plan: its strings do not begin with the first")
    found = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        encoded = blob[begin : end - 1]
        if not begin < end <= begin + 1 + records.MAX_STRING_BYTES or blob[end - 1 : end] != b"\0":
            raise PackageError(f"plan: string {number} is not {records.MAX_STRING_BYTES} bytes or less, then NUL")
        found.append(encoded)
    for number, (left, right) in enumerate(pairwise(found), 1):
        if left >= right:
            raise PackageError(f"plan: string {number} is not behind the one before it in order")
    try:
        return [encoded.decode() for encoded in found]
    except UnicodeDecodeError as err:
        raise PackageError(f"plan: a string is not UTF-8: {err}") from None


def _read_labels(content: bytes) -> tuple[str, ...]:
    _require(not content or content.endswith(b"\0"), "labels: the last does not end with NUL")
    try:
        return tuple(content.decode().split("\0")[:-1])
    except UnicodeDecodeError as err:
        raise PackageError(f"labels: are not UTF-8: {err}") from None


def _read_engine(engines: list[tuple[Any, ...]]) -> Engine:
    _require(len(engines) == 1, f"plan: needs {len(engines)} engines, expected one; update edgesparse")
    kind, reserved, arena_bytes, scratch_bytes, tail = engines[0]
    _require(kind in set(EngineKind), f"plan: needs an engine of the unknown kind {kind}; update edgesparse")
    _require(reserved == 0 and not any(tail), "plan: a reserved byte of an engine is not zero")
    return Engine(arena_bytes, scratch_bytes, EngineKind(kind))


def _read_image(images: list[tuple[Any, ...]], codes: Mapping[int, bytes]) -> Image:
    _require(len(images) == 1, f"plan: has {len(images)} images of code, expected one; update edgesparse")
    engine, isa, features, section, core, reserved = images[0]
    _require(engine == 0 and not any(reserved), "plan: its image of code belongs to no engine of it")
    _require(section in codes, f"plan: its code is in section {section}, which is no code section")
    name = _name_of({row.name: row.number for row in ISAS.values()}, isa, "isa")
    return Image(name, _read_features(features), codes[section], core, engine)


def _name_of(codes: dict[str, int], code: int, what: str) -> str:
    names = [name for name, value in codes.items() if value == code]
    _require(bool(names), f"plan: has the unknown {what} {code}; update edgesparse")
    return names[0]


def _read_features(mask: int) -> tuple[str, ...]:
    features = tuple(name for name, bit in FEATURE_BITS.items() if mask >> bit & 1)
    known = sum(1 << bit for bit in FEATURE_BITS.values())
    _require(mask & ~known == 0, f"plan: has unknown CPU features ({mask & ~known:#x}); update edgesparse")
    return features


def _read_tensor(record: tuple[Any, ...], tables: _Tables) -> TensorSpec:
    number, dtype, rank, engine, offset, size, *dims, picture, reserved = record
    name = tables.text(number)
    _require(rank <= records.MAX_RANK and not any(dims[rank:]), f"tensor {name!r}: has an invalid rank {rank}")
    _require(engine == 0 and not any(reserved), f"tensor {name!r}: a reserved byte is not zero")
    kind, meaning = _name_of(records.DTYPES, dtype, "element type"), _name_of(records.PICTURES, picture, "picture")
    tensor = TensorSpec(name, kind, tuple(dims[:rank]), offset, meaning)
    _require(tensor_bytes(tensor) == size, f"tensor {name!r}: has {size} bytes, expected {tensor_bytes(tensor)}")
    return tensor


def _read_steps(tables: _Tables) -> Iterator[Step]:
    used = 0
    for *names, kind, image, tiles, first_arg, arg_count, code_offset, reserved in tables.steps:
        name, op, kernel = map(tables.text, names)
        if kind != records.STEP_CALL:  # messages are worded only if they are needed: names may be long
            raise PackageError(f"step {name!r}: is of the unknown kind {kind}; update edgesparse")
        if first_arg != used or used + arg_count > len(tables.args) or any(reserved):
            raise PackageError(f"step {name!r}: has {arg_count} arguments from {first_arg}, expected them from {used}")
        args = tuple(_read_arg(name, record, tables) for record in tables.args[used : used + arg_count])
        used += arg_count
        yield Step(name, op, kernel, code_offset, tiles, args, image)
    _require(used == len(tables.args), f"plan: has {len(tables.args)} arguments, its steps use {used}")


_SPACES = tuple(Space)
_ZERO = bytes(36)


def _read_arg(step: str, record: tuple[Any, ...], tables: _Tables) -> Arg:
    space, array, offset, size, name, reserved = record
    if reserved != _ZERO:
        raise PackageError(f"step {step!r}: a reserved byte of an argument is not zero")
    if space >= len(_SPACES):
        raise PackageError(f"step {step!r}: an argument is in the unknown space {space}; update edgesparse")
    return Arg(_SPACES[space], offset, size, tables.text(name), array)


def _read_array(record: tuple[Any, ...]) -> IndexArray:
    kind, dtype, offset, size, lowest, limit, part, part_limit, reserved = record
    _require(not any(reserved), "plan: a reserved byte of an index array is not zero")
    try:
        known = IndexKind(kind)
    except ValueError as err:
        raise PackageError(f"plan: an index array is of an unknown kind: {err}") from err
    bound = Bound(known, _name_of(records.DTYPES, dtype, "element type"), limit, lowest, part, part_limit)
    return IndexArray(offset, size, bound)
