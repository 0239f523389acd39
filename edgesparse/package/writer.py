"""Write programs as model.esp: deterministic bytes, and never half a file under the final name."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesparse.errors import PackageError
from edgesparse.isa import FEATURE_BITS, ISAS
from edgesparse.outputs import written
from edgesparse.package import records
from edgesparse.package.answers import Answers
from edgesparse.package.check import check, check_alike, tensor_bytes
from edgesparse.package.records import SectionKind
from edgesparse.program import Arg, Image, IndexArray, Program, TensorSpec


def write(
    programs: Sequence[Program],
    manifest: Mapping[str, Any],
    path: Path,
    report: bytes | None = None,
    answers: Sequence[Answers] = (),
) -> None:
    """Write an artifact; `path` holds either all of it or what was there before.

    Args:
        programs: the model compiled for one kind of machine or several, the best first, over the same weights and
            indices (see `sharing`) and with the same labels.
        manifest: what people and tools may want to know about the model; must be JSON.
        report: kept as it is in a section of its own.
        answers: what the model gives for made-up inputs.

    Raises:
        PackageError: a program is invalid, or the file cannot be written.
    """
    chunks = list(_chunks(programs, manifest, report, answers))
    with written(Path(path)) as temporary, temporary.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)


def serialize(
    programs: Sequence[Program],
    manifest: Mapping[str, Any],
    report: bytes | None = None,
    answers: Sequence[Answers] = (),
) -> bytes:
    """The bytes of an artifact; the same for the same programs.

    Raises:
        PackageError: a program is invalid.
    """
    return b"".join(_chunks(programs, manifest, report, answers))


def _chunks(
    programs: Sequence[Program], manifest: Mapping[str, Any], report: bytes | None, answers: Sequence[Answers]
) -> Iterator[bytes]:
    for program in programs:
        check(program)
    check_alike(programs)
    shared = {(program.weights, program.indices, program.labels) for program in programs}
    if len(shared) != 1:
        raise PackageError(f"got {len(shared)} sets of weights and labels, expected all programs to share one")
    ((weights, indices, labels),) = shared
    sections = [(SectionKind.MANIFEST, _encode_manifest(manifest))]
    for program in programs:
        sections += [
            (SectionKind.PLAN, _encode_plan(program, code_section=len(sections) + 1)),
            (SectionKind.CODE, program.images[0].code),
        ]
    sections += [
        (SectionKind.INDICES, indices),
        (SectionKind.WEIGHTS, weights),
        (SectionKind.REPORT, report or b""),
        (SectionKind.ANSWERS, b"".join(each.encode() for each in answers)),
        (SectionKind.LABELS, b"".join(label.encode() + b"\0" for label in labels)),
    ]
    if len(programs) > records.MAX_PROGRAMS:
        raise PackageError(f"got {len(programs)} programs, expected at most {records.MAX_PROGRAMS}")
    return _container([(kind, content) for kind, content in sections if content], minor=1 if answers else 0)


def _encode_manifest(manifest: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        encoded = text.encode()
    except (TypeError, ValueError) as err:
        raise PackageError(f"manifest: is not JSON: {err}") from err
    if len(encoded) > records.MAX_MANIFEST_BYTES:
        raise PackageError(f"manifest: has {len(encoded)} bytes, expected at most {records.MAX_MANIFEST_BYTES}")
    return encoded


class _Strings:
    """The strings of a plan: each once, in the order of their bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = sorted({text.encode() for text in texts})
        self._numbers = {text.decode(): number for number, text in enumerate(encoded)}
        self.blob = b"".join(text + b"\0" for text in encoded)
        starts = itertools.accumulate((len(text) + 1 for text in encoded[:-1]), initial=0)
        self.table = [records.STRING.pack(start) for start in starts] if encoded else []

    def __getitem__(self, text: str) -> int:
        return self._numbers[text]


def _texts(program: Program) -> Iterator[str]:
    for tensor in (*program.inputs, *program.outputs):
        yield tensor.name
    for step in program.steps:
        yield from (step.name, step.op, step.kernel, *(arg.name for arg in step.args))


def _encode_plan(program: Program, code_section: int) -> bytes:
    strings = _Strings(_texts(program))
    tensors = [_encode_tensor(tensor, strings) for tensor in (*program.inputs, *program.outputs)]
    steps: list[bytes] = []
    args: list[bytes] = []
    for step in program.steps:
        names = (strings[text] for text in (step.name, step.op, step.kernel))
        call = (records.STEP_CALL, step.image, step.tiles, len(args), len(step.args), step.code_offset)
        steps.append(records.STEP.pack(*names, *call, bytes(24)))
        args += [_encode_arg(arg, strings) for arg in step.args]
    engines = [
        records.ENGINE.pack(engine.kind, 0, engine.arena_bytes, engine.scratch_bytes, bytes(40))
        for engine in program.engines
    ]
    images = [_encode_image(image, code_section) for image in program.images]
    tables = [engines, images, tensors, steps, args, [*map(_encode_array, program.arrays)], strings.table]
    counts = (len(engines), len(images), len(program.inputs), len(program.outputs), *map(len, tables[3:]))
    header = records.PLAN.pack(*counts, len(strings.blob), bytes(92))
    encoded = b"".join([header, *itertools.chain(*tables), strings.blob])
    if len(strings.table) > records.MAX_STRINGS:
        raise PackageError(f"plan: has {len(strings.table)} strings, expected at most {records.MAX_STRINGS}")
    if len(encoded) > records.MAX_PLAN_BYTES:
        raise PackageError(f"plan: has {len(encoded)} bytes, expected at most {records.MAX_PLAN_BYTES}")
    return encoded


def _encode_image(image: Image, section: int) -> bytes:
    features = sum(1 << FEATURE_BITS[name] for name in set(image.cpu_features))
    return records.IMAGE.pack(image.engine, ISAS[image.isa].number, features, section, image.core, bytes(40))


def _encode_tensor(tensor: TensorSpec, strings: _Strings) -> bytes:
    rank = len(tensor.shape)
    dims = (*tensor.shape, *([0] * (records.MAX_RANK - rank)))
    facts = (records.DTYPES[tensor.dtype], rank, 0, tensor.offset_bytes, tensor_bytes(tensor))
    return records.TENSOR.pack(strings[tensor.name], *facts, *dims, records.PICTURES[tensor.picture], bytes(28))


def _encode_arg(arg: Arg, strings: _Strings) -> bytes:
    return records.ARG.pack(arg.space, arg.array, arg.offset_bytes, arg.size_bytes, strings[arg.name], bytes(36))


def _encode_array(array: IndexArray) -> bytes:
    bound = array.bound
    where = (bound.kind, records.DTYPES[bound.dtype], array.offset_bytes, array.size_bytes)
    return records.ARRAY.pack(*where, bound.lowest, bound.limit, bound.part, bound.part_limit, bytes(8))


def _container(sections: Sequence[tuple[SectionKind, bytes]], minor: int = 0) -> Iterator[bytes]:
    """`minor` is the least version that knows all of it."""
    table = bytearray()
    end = records.PREAMBLE.size + records.SECTION.size * len(sections)
    offsets = []
    for kind, content in sections:
        offsets.append(records.align_up(end, records.SECTION_ALIGN))
        end = offsets[-1] + len(content)
        digest = hashlib.sha256(content).digest()
        table += records.SECTION.pack(kind, 0, offsets[-1], len(content), bytes(8), digest)
    head = (records.MAGIC, records.MAJOR, minor, len(sections), end, bytes(8))
    hashed = records.PREAMBLE.pack(*head, bytes(32))[: records.PREAMBLE_HASHED_BYTES]
    yield records.PREAMBLE.pack(*head, hashlib.sha256(hashed + table).digest())
    yield bytes(table)
    position = records.PREAMBLE.size + len(table)
    for offset, (_, content) in zip(offsets, sections, strict=True):
        yield bytes(offset - position)
        yield content
        position = offset + len(content)
