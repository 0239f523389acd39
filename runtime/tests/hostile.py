"""Artifacts that must be refused, each with the status and the words it must be refused with."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgesparse.package import records
from edgesparse.package.records import SectionKind

_U64_MAX = 2**64 - 1
_INPUTS, _OUTPUTS, _STEPS, _ARGS, _ARRAYS = 1, 2, 3, 12, 3  # what samples.sparse_model has


class Editor:
    """The bytes of an artifact of samples.sparse_model, to be changed field by field."""

    def __init__(self, artifact: bytes) -> None:
        self.data = bytearray(artifact)

    def put(self, offset: int, form: str, *values: int | bytes) -> None:
        """Store values at an offset of the file."""
        struct.pack_into("<" + form, self.data, offset, *values)

    def section(self, kind: int) -> int:
        """Offset of a section's entry in the table."""
        (count,) = struct.unpack_from("<I", self.data, 12)
        start, step = records.PREAMBLE.size, records.SECTION.size
        entries = range(start, start + count * step, step)
        return next(at for at in entries if struct.unpack_from("<I", self.data, at) == (kind,))

    def content(self, kind: int) -> int:
        """Offset of a section's content in the file."""
        return int(struct.unpack_from("<Q", self.data, self.section(kind) + 8)[0])

    @property
    def plan(self) -> int:
        """Offset of the plan."""
        return self.content(SectionKind.PLAN)

    @property
    def engine(self) -> int:
        """Offset of the engine's record."""
        return self.plan + records.PLAN.size

    @property
    def image(self) -> int:
        """Offset of the image's record."""
        return self.engine + records.ENGINE.size

    def tensor(self, index: int) -> int:
        """Offset of a tensor's record."""
        return self.image + records.IMAGE.size + index * records.TENSOR.size

    def step(self, index: int) -> int:
        """Offset of a step's record."""
        return self.tensor(_INPUTS + _OUTPUTS) + index * records.STEP.size

    def arg(self, index: int) -> int:
        """Offset of an argument's record; the arguments of all steps count."""
        return self.step(_STEPS) + index * records.ARG.size

    def array(self, index: int) -> int:
        """Offset of an index array's record."""
        return self.arg(_ARGS) + index * records.ARRAY.size

    def start(self, index: int) -> int:
        """Offset of where the start of a string is stored."""
        return self.array(_ARRAYS) + index * records.STRING.size

    @property
    def strings(self) -> int:
        """Offset of the bytes of the strings."""
        (count,) = struct.unpack_from("<I", self.data, self.plan + 28)
        return self.start(count)

    def indices_of(self, array: int) -> int:
        """Offset of the indices of an array."""
        (offset,) = struct.unpack_from("<Q", self.data, self.array(array) + 8)
        return self.content(SectionKind.INDICES) + int(offset)

    def rehash(self) -> None:
        """Make all checksums match again."""
        (count,) = struct.unpack_from("<I", self.data, 12)
        end = records.PREAMBLE.size + min(count, records.MAX_SECTIONS) * records.SECTION.size
        for at in range(records.PREAMBLE.size, end, records.SECTION.size):
            offset, size = struct.unpack_from("<QQ", self.data, at + 8)
            if offset + size <= len(self.data):
                self.put(at + 32, "32s", hashlib.sha256(self.data[offset : offset + size]).digest())
        hashed = self.data[: records.PREAMBLE_HASHED_BYTES] + self.data[records.PREAMBLE.size : end]
        self.put(32, "32s", hashlib.sha256(hashed).digest())


@dataclass(frozen=True)
class Case:
    """One way to damage an artifact; `damage` changes it in place."""

    name: str
    status: str
    message: str  # a regular expression
    damage: Callable[[Editor], None]
    rehash: bool = True

    def apply(self, artifact: bytes) -> bytes:
        """The damaged artifact."""
        editor = Editor(artifact)
        self.damage(editor)
        if self.rehash:
            editor.rehash()
        return bytes(editor.data)


def _put(place: Callable[[Editor], int], form: str, *values: int | bytes) -> Callable[[Editor], None]:
    return lambda editor: editor.put(place(editor), form, *values)


def _preamble(offset: int) -> Callable[[Editor], int]:
    return lambda editor: offset


def _section(kind: int, field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.section(kind) + field


def _plan(field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.plan + field


def _tensor(index: int, field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.tensor(index) + field


def _step(index: int, field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.step(index) + field


def _arg(index: int, field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.arg(index) + field


def _array(index: int, field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.array(index) + field


def _indices(array: int, offset: int) -> Callable[[Editor], int]:
    return lambda editor: editor.indices_of(array) + offset


def _engine(field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.engine + field


def _image(field: int) -> Callable[[Editor], int]:
    return lambda editor: editor.image + field


def _start(index: int) -> Callable[[Editor], int]:
    return lambda editor: editor.start(index)


def _resize(size: int) -> Callable[[Editor], None]:
    def damage(editor: Editor) -> None:
        del editor.data[size:]

    return damage


def _overlap(editor: Editor) -> None:
    editor.put(editor.section(SectionKind.WEIGHTS) + 8, "Q", editor.content(SectionKind.CODE))


def _grow_manifest(editor: Editor) -> None:
    """Let the manifest reach over all that follows; the size alone must be refused."""
    editor.data += bytes(records.MAX_MANIFEST_BYTES + 1)
    editor.put(16, "Q", len(editor.data))
    editor.put(editor.section(SectionKind.MANIFEST) + 16, "Q", records.MAX_MANIFEST_BYTES + 1)


def container_cases() -> Iterator[Case]:
    """Damage to the preamble and the section table."""
    plan, code, weights = SectionKind.PLAN, SectionKind.CODE, SectionKind.WEIGHTS
    yield Case("empty", "ES_ERR_TRUNCATED", "is empty", _resize(0), rehash=False)
    yield Case("seven-bytes", "ES_ERR_TRUNCATED", "has 7 bytes", _resize(7), rehash=False)
    yield Case("magic-only", "ES_ERR_TRUNCATED", "has 8 bytes", _resize(8), rehash=False)
    yield Case("preamble-only", "ES_ERR_TRUNCATED", "the file has 64 bytes", _resize(64), rehash=False)
    yield Case("no-last-byte", "ES_ERR_TRUNCATED", "copy it again", lambda editor: editor.data.pop())
    yield Case("extra-byte", "ES_ERR_INVALID", "has only", lambda editor: editor.data.append(0))
    yield Case("other-magic", "ES_ERR_BAD_MAGIC", "does not start as", _put(_preamble(0), "8s", b"\x7fELF\2\1\1\0"))
    yield Case("newline-changed", "ES_ERR_BAD_MAGIC", "does not start as", _put(_preamble(4), "4s", b"\n\x1a\n\0"))
    yield Case("next-major", "ES_ERR_VERSION", r"3\.1, .* reads 2\.x; install a newer", _put(_preamble(8), "H", 3))
    yield Case("older-major", "ES_ERR_VERSION", r"1\.1, .* compile the model again", _put(_preamble(8), "H", 1))
    yield Case("many-sections", "ES_ERR_LIMIT", "65 sections, at most 64", _put(_preamble(12), "I", 65))
    yield Case("all-sections", "ES_ERR_LIMIT", "4294967295 sections", _put(_preamble(12), "I", 2**32 - 1))
    yield Case("no-sections", "ES_ERR_INVALID", "plan section is missing", _put(_preamble(12), "I", 0))
    yield Case("preamble-reserved", "ES_ERR_INVALID", "reserved", _put(_preamble(24), "B", 1))
    yield Case("table-checksum", "ES_ERR_CORRUPT", "section table: .* copy", _put(_preamble(40), "B", 77), rehash=False)
    yield Case("section-reserved", "ES_ERR_INVALID", "reserved", _put(_section(plan, 24), "B", 1))
    yield Case("section-unaligned", "ES_ERR_INVALID", "not a multiple of 16384", _put(_section(code, 8), "Q", 49153))
    yield Case("section-past-end", "ES_ERR_INVALID", "past the end", _put(_section(weights, 16), "Q", 10**6))
    yield Case("section-far", "ES_ERR_INVALID", "past the end", _put(_section(weights, 8), "Q", 2**64 - 16384))
    yield Case("section-huge", "ES_ERR_INVALID", "past the end", _put(_section(weights, 16), "Q", _U64_MAX))
    yield Case("sections-overlap", "ES_ERR_INVALID", "before the end of what precedes", _overlap)
    yield Case("section-in-table", "ES_ERR_INVALID", "before the end of what", _put(_section(1, 8), "Q", 0))
    two = _put(_section(SectionKind.INDICES, 0), "I", weights)
    yield Case("two-weights", "ES_ERR_INVALID", "two weights sections", two)
    yield Case("no-plan", "ES_ERR_INVALID", "plan section is missing", _put(_section(plan, 0), "I", 99))
    yield Case("no-code", "ES_ERR_INVALID", "code section is missing", _put(_section(code, 0), "I", 99))
    yield Case("unknown-required", "ES_ERR_UNSUPPORTED", "kind 99 .* newer", _put(_section(weights, 0), "II", 99, 1))
    yield Case("manifest-huge", "ES_ERR_LIMIT", "manifest section: 1048577 bytes", _grow_manifest)


def checksum_cases() -> Iterator[Case]:
    """A changed byte in each section."""
    for kind in SectionKind:
        if kind == SectionKind.REPORT:
            continue

        def damage(editor: Editor, kind: SectionKind = kind) -> None:
            editor.data[editor.content(kind) + 1] ^= 1

        name = kind.name.lower()
        yield Case(f"{name}-checksum", "ES_ERR_CORRUPT", f"{name} section: the checksum", damage, rehash=False)


def plan_cases() -> Iterator[Case]:
    """Damage to the header, the engine, the image and the strings of the plan."""
    yield Case("engines-none", "ES_ERR_INVALID", "its tables need", _put(_plan(0), "I", 0))
    yield Case("images-many", "ES_ERR_INVALID", "its tables need", _put(_plan(4), "I", 2**32 - 1))
    yield Case("engines-two", "ES_ERR_UNSUPPORTED", "needs 2 engines", _put(_plan(0), "II", 2, 0))
    yield Case("images-two", "ES_ERR_UNSUPPORTED", "needs 0 engines", _put(_plan(0), "II", 0, 2))
    yield Case("inputs-many", "ES_ERR_LIMIT", "4097 inputs", _put(_plan(8), "I", 4097))
    yield Case("outputs-many", "ES_ERR_LIMIT", "outputs", _put(_plan(12), "I", 2**32 - 1))
    yield Case("steps-many", "ES_ERR_LIMIT", "steps", _put(_plan(16), "I", 2**32 - 1))
    yield Case("args-many", "ES_ERR_INVALID", "its tables need", _put(_plan(20), "I", 2**32 - 1))
    yield Case("arrays-many", "ES_ERR_LIMIT", "32769 index arrays", _put(_plan(24), "I", 2**15 + 1))
    yield Case("strings-many", "ES_ERR_LIMIT", "262145 strings", _put(_plan(28), "I", 2**18 + 1))
    yield Case("strings-long", "ES_ERR_INVALID", "its tables need", _put(_plan(32), "I", 2**32 - 1))
    yield Case("plan-reserved", "ES_ERR_INVALID", "reserved", _put(_plan(127), "B", 1))
    yield Case("plan-short", "ES_ERR_INVALID", "its header alone", _put(_section(SectionKind.PLAN, 16), "Q", 127))
    yield Case("engine-unknown", "ES_ERR_UNSUPPORTED", "unknown kind 1; install", _put(_engine(0), "I", 1))
    yield Case("engine-reserved", "ES_ERR_INVALID", "reserved", _put(_engine(63), "B", 1))
    yield Case("arena-huge", "ES_ERR_LIMIT", "an arena of", _put(_engine(8), "Q", _U64_MAX))
    yield Case("scratch-huge", "ES_ERR_LIMIT", "bytes of scratch", _put(_engine(16), "Q", 2**26 + 1))
    yield Case("image-engine", "ES_ERR_INVALID", "for engine 1", _put(_image(0), "I", 1))
    yield Case("image-section", "ES_ERR_INVALID", "no code section", _put(_image(16), "I", 1))
    yield Case("image-reserved", "ES_ERR_INVALID", "reserved", _put(_image(63), "B", 1))
    yield Case("isa-unknown", "ES_ERR_CPU", "compiled for an unknown CPU", _put(_image(4), "I", 77))
    yield Case("feature-unknown", "ES_ERR_UNSUPPORTED", "does not know", _put(_image(8), "Q", 1 << 63))
    yield Case("feature-absent", "ES_ERR_CPU", "which this CPU lacks", _put(_image(8), "Q", 1 << 35 | 1 << 7 | 1 << 32))
    yield Case("strings-start", "ES_ERR_INVALID", "not inside the blob", _put(_start(0), "I", 1))
    yield Case("string-outside", "ES_ERR_INVALID", "not inside the blob", _put(_start(3), "I", 2**32 - 1))
    yield Case("string-fall", "ES_ERR_INVALID", "not inside the blob", _put(_start(2), "I", 0))
    yield Case("string-unfinished", "ES_ERR_INVALID", "does not end with NUL", _put(_start(2), "I", 3))
    yield Case("string-nul", "ES_ERR_INVALID", "not UTF-8", lambda editor: editor.put(editor.strings + 2, "B", 0))
    yield Case("string-latin1", "ES_ERR_INVALID", "not UTF-8", lambda editor: editor.put(editor.strings + 1, "B", 0xFC))
    yield Case("string-order", "ES_ERR_INVALID", "in order", lambda editor: editor.put(editor.strings + 1, "B", 0x7F))


def tensor_cases() -> Iterator[Case]:
    """Damage to the tensors."""
    yield Case("name-outside", "ES_ERR_INVALID", "input 0: is called by string", _put(_tensor(0, 0), "I", 2**32 - 1))
    yield Case("names-equal", "ES_ERR_INVALID", "output 1 'g': has the name of another", _same_output_names)
    yield Case(
        "dtype-unknown", "ES_ERR_UNSUPPORTED", "'x': has the unknown element type 99", _put(_tensor(0, 4), "I", 99)
    )
    yield Case("rank-nine", "ES_ERR_LIMIT", "'x': has 9 dimensions", _put(_tensor(0, 8), "I", 9))
    yield Case("tensor-engine", "ES_ERR_INVALID", "'x': a reserved", _put(_tensor(0, 12), "I", 1))
    yield Case("tensor-reserved", "ES_ERR_INVALID", "'x': a reserved", _put(_tensor(0, 95), "B", 1))
    yield Case("tensor-unaligned", "ES_ERR_INVALID", "not a multiple of 64", _put(_tensor(0, 16), "Q", 4))
    yield Case("tensor-outside", "ES_ERR_INVALID", "past the end of the arena", _put(_tensor(0, 16), "Q", 64 * 100))
    yield Case("tensor-far", "ES_ERR_INVALID", "past the end of the arena", _put(_tensor(0, 16), "Q", 2**64 - 64))
    yield Case("tensor-size", "ES_ERR_INVALID", "not what its shape needs", _put(_tensor(0, 24), "Q", 4))
    yield Case(
        "dims-overflow", "ES_ERR_INVALID", "not what its", _put(_tensor(0, 8), "IIQQ8I", 8, 0, 0, 0, *[2**31] * 8)
    )
    yield Case(
        "picture-unknown", "ES_ERR_UNSUPPORTED", "'x': is a picture of the unknown kind 6", _put(_tensor(0, 64), "I", 6)
    )
    yield Case("picture-float", "ES_ERR_INVALID", "'x': has neither the shape nor the", _put(_tensor(0, 64), "I", 3))
    yield Case("dims-unused", "ES_ERR_INVALID", "past its rank", _put(_tensor(0, 32 + 8), "I", 1))


def _same_output_names(editor: Editor) -> None:
    name = editor.data[editor.tensor(1) : editor.tensor(1) + 4]
    editor.put(editor.tensor(2), "4s", bytes(name))


def step_cases() -> Iterator[Case]:
    """Damage to the steps and their arguments."""
    yield Case("step-name", "ES_ERR_INVALID", "step 1: is called by string 1000", _put(_step(1, 4), "I", 1000))
    yield Case("step-kind", "ES_ERR_UNSUPPORTED", "unknown kind 1; install", _put(_step(0, 12), "I", 1))
    yield Case("step-image", "ES_ERR_INVALID", "reserved", _put(_step(0, 16), "I", 1))
    yield Case("step-reserved", "ES_ERR_INVALID", "reserved", _put(_step(0, 63), "B", 1))
    yield Case("kernel-outside", "ES_ERR_INVALID", "step 0 'conv1': its kernel", _put(_step(0, 32), "Q", 2**26))
    yield Case("kernel-far", "ES_ERR_INVALID", "no instruction of the code", _put(_step(0, 32), "Q", _U64_MAX))
    yield Case("tiles-zero", "ES_ERR_INVALID", "has 0 tiles", _put(_step(0, 20), "I", 0))
    yield Case("tiles-many", "ES_ERR_INVALID", "2147483648 tiles", _put(_step(0, 20), "I", 2**31))
    yield Case("args-shared", "ES_ERR_INVALID", "arguments from 0, expected from 6", _put(_step(1, 24), "I", 0))
    yield Case("args-missing", "ES_ERR_INVALID", "from 4294967295", _put(_step(0, 24), "I", 2**32 - 1))
    yield Case("args-past-end", "ES_ERR_INVALID", "has 13 arguments", _put(_step(0, 28), "I", 13))
    yield Case("args-65", "ES_ERR_LIMIT", "has 65 arguments", _put(_step(0, 28), "I", 65))
    yield Case("args-unused", "ES_ERR_INVALID", "its steps use 11", _put(_step(2, 28), "I", 2))
    yield Case("space-unknown", "ES_ERR_UNSUPPORTED", "unknown space 4", _put(_arg(4, 0), "I", 4))
    yield Case("arg-unaligned", "ES_ERR_INVALID", "not a multiple of 64", _put(_arg(4, 8), "Q", 32))
    yield Case(
        "arg-past-arena",
        "ES_ERR_INVALID",
        r"step 0 'conv1': argument 4 has 3168 bytes at byte 6400, past the end of the arena \(7552 bytes\)",
        _put(_arg(4, 8), "Q", 6400),
    )
    yield Case("arg-past-weights", "ES_ERR_INVALID", "end of the weights", _put(_arg(2, 16), "Q", 10**6))
    yield Case("arg-past-scratch", "ES_ERR_INVALID", "end of the scratch", _put(_arg(10, 16), "Q", 193))
    yield Case("arg-past-indices", "ES_ERR_INVALID", "end of the indices", _put(_arg(0, 16), "Q", 10**6))
    yield Case("arg-far", "ES_ERR_INVALID", "past the end", _put(_arg(2, 8), "QQ", 2**64 - 64, 128))
    yield Case("arg-name-outside", "ES_ERR_INVALID", "is called by string", _put(_arg(4, 24), "I", 2**32 - 1))
    yield Case("arg-reserved", "ES_ERR_INVALID", "argument 4 has a reserved byte", _put(_arg(4, 63), "B", 1))
    yield Case("arg-array-elsewhere", "ES_ERR_INVALID", "is not in the indices", _put(_arg(4, 4), "I", 1))
    yield Case("arg-array-outside", "ES_ERR_INVALID", "is not index array 3", _put(_arg(0, 4), "I", 3))
    yield Case("arg-array-other", "ES_ERR_INVALID", "is not index array 1", _put(_arg(0, 4), "I", 1))
    yield Case("arg-array-part", "ES_ERR_INVALID", "of which it must be all", _put(_arg(0, 16), "Q", 4))


def index_cases() -> Iterator[Case]:
    """Indices that would lead a kernel astray, and damage to what is said about them."""
    yield Case("array-unknown", "ES_ERR_UNSUPPORTED", "array 0 is of the unknown kind 4", _put(_array(0, 0), "I", 4))
    yield Case("array-float", "ES_ERR_UNSUPPORTED", "kind 1 of element type 1,", _put(_array(0, 4), "I", 1))
    yield Case("array-unaligned", "ES_ERR_INVALID", "expected a multiple of 64", _put(_array(1, 8), "Q", 140))
    yield Case("array-overlap", "ES_ERR_INVALID", "from 68 on", _put(_array(1, 8), "Q", 0))
    yield Case("array-outside", "ES_ERR_INVALID", "end of the indices", _put(_array(2, 16), "Q", 10**6))
    yield Case("array-far", "ES_ERR_INVALID", "end of the indices", _put(_array(2, 8), "Q", 2**64 - 64))
    yield Case("array-reserved", "ES_ERR_INVALID", "out of range", _put(_array(0, 56), "B", 1))
    yield Case("array-limit-huge", "ES_ERR_INVALID", "out of range", _put(_array(1, 32), "Q", _U64_MAX))
    yield Case("array-lowest", "ES_ERR_INVALID", "out of range", _put(_array(2, 24), "q", -1))
    yield Case("indptr-start", "ES_ERR_INVALID", "do not start at 0", _put(_indices(0, 0), "i", 1))
    yield Case("indptr-negative", "ES_ERR_INVALID", "do not start at 0", _put(_indices(0, 0), "i", -1))
    yield Case("indptr-falls", "ES_ERR_INVALID", "fall at element 6", _put(_indices(0, 5 * 4), "i", 2**31 - 1))
    yield Case("indptr-below-zero", "ES_ERR_INVALID", "fall at element 5", _put(_indices(0, 5 * 4), "i", -5))
    yield Case("indptr-end", "ES_ERR_INVALID", "end at .*, expected 3", _put(_array(0, 32), "Q", 3))
    yield Case("indptr-part", "ES_ERR_INVALID", "row pointer 8 that is not 0", _put(_array(0, 48), "Q", 0))
    yield Case("indptr-part-far", "ES_ERR_INVALID", "row pointer 17 that is not", _put(_array(0, 40), "Q", 17))
    yield Case("indptr-ragged", "ES_ERR_INVALID", "expected a multiple of 4", _put(_array(0, 16), "Q", 67))
    yield Case("indptr-empty", "ES_ERR_INVALID", "do not start at 0", _put(_array(0, 16), "Q", 0))
    yield Case("u16-at-limit", "ES_ERR_INVALID", "index 24 at element 3, .* than 24", _put(_indices(1, 6), "H", 24))
    yield Case("u16-maximum", "ES_ERR_INVALID", "index 65535 at element 0", _put(_indices(1, 0), "H", 65535))
    yield Case("u16-ragged", "ES_ERR_INVALID", "expected a multiple of 2", _put(_array(1, 16), "Q", 3))
    yield Case("u16-limit-zero", "ES_ERR_INVALID", "less than 0", _put(_array(1, 32), "Q", 0))
    yield Case("u16-lowest", "ES_ERR_INVALID", "expected 24 or more", _put(_array(1, 24), "q", 24))
    yield Case("u16-part-limit", "ES_ERR_INVALID", "less than 1", _put(_array(1, 48), "Q", 1))
    yield Case("u16-part-far", "ES_ERR_INVALID", "its second part is from", _put(_array(1, 40), "Q", 10**6))
    yield Case("order-negative", "ES_ERR_INVALID", "index -1 at element 15", _put(_indices(2, 60), "i", -1))
    yield Case("order-at-limit", "ES_ERR_INVALID", "index 16 at element 0", _put(_indices(2, 0), "i", 16))
    yield Case("order-other-part", "ES_ERR_INVALID", "another part at element 0", _put(_indices(2, 0), "i", 8))
    yield Case("order-part-before", "ES_ERR_INVALID", "another part at element 8", _put(_indices(2, 32), "i", 7))
    yield Case("order-parts-none", "ES_ERR_INVALID", "parts of 0 elements", _put(_array(2, 40), "Q", 0))
    yield Case("order-part-limit", "ES_ERR_INVALID", "is cut into parts", _put(_array(2, 48), "Q", 8))


def _labels(at: int, form: str, *values: int | bytes) -> Callable[[Editor], None]:
    return lambda editor: editor.put(editor.content(SectionKind.LABELS) + at, form, *values)


def _long_label(editor: Editor) -> None:
    """Let a label be longer than one may be; the section is the last."""
    end = editor.content(SectionKind.LABELS)
    editor.data[end:] = b"x" * (records.MAX_LABEL_BYTES + 1) + b"\0"
    editor.put(16, "Q", len(editor.data))
    editor.put(editor.section(SectionKind.LABELS) + 16, "Q", len(editor.data) - end)


def label_cases() -> Iterator[Case]:
    """Labels that cannot be shown, or that name nothing; those of the sample are "größe 0" to "größe 15"."""
    yield Case("labels-control", "ES_ERR_INVALID", "label 0 is not UTF-8 text", _labels(1, "B", 0x1B))
    yield Case("labels-c1", "ES_ERR_INVALID", "label 0 is not UTF-8 text", _labels(2, "BB", 0xC2, 0x9B))
    yield Case("labels-delete", "ES_ERR_INVALID", "label 0 is not UTF-8 text", _labels(0, "B", 0x7F))
    yield Case("labels-latin1", "ES_ERR_INVALID", "label 0 is not UTF-8 text", _labels(2, "B", 0xFC))
    yield Case("labels-more", "ES_ERR_INVALID", "has 17 labels, and no output", _labels(1, "B", 0))
    yield Case("labels-fewer", "ES_ERR_INVALID", "has 15 labels, and no output", _labels(9, "B", 0x20))
    yield Case(
        "labels-unfinished",
        "ES_ERR_INVALID",
        "label 15 does not end",
        lambda editor: editor.put(len(editor.data) - 1, "B", 0x20),
    )
    yield Case("labels-long", "ES_ERR_LIMIT", "label 0 has 1025 bytes", _long_label)


def answer_cases() -> Iterator[Case]:
    """Answers of another size than a seed and a hash for each output."""
    short = _put(_section(SectionKind.ANSWERS, 16), "Q", 8 + 32 * _OUTPUTS - 1)
    yield Case("answers-short", "ES_ERR_INVALID", "answers section.* expected a multiple of 72", short)


def cases() -> list[Case]:
    """All of them."""
    return [
        *container_cases(),
        *checksum_cases(),
        *plan_cases(),
        *tensor_cases(),
        *step_cases(),
        *index_cases(),
        *label_cases(),
        *answer_cases(),
    ]
