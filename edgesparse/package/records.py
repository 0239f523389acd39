"""The records of model.esp and their pinned numbers; FORMAT.md explains them, runtime/src/format.h mirrors them."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

MAGIC = b"\x89ESP\r\n\x1a\n"
MAJOR = 2
MINOR = 1

PREAMBLE = struct.Struct("<8sHHIQ8s32s")  # magic, major, minor, section_count, file_bytes, reserved, sha256
SECTION = struct.Struct("<IIQQ8s32s")  # kind, flags, offset, size, reserved, sha256
PLAN = struct.Struct("<9I92s")  # engines, images, inputs, outputs, steps, args, arrays, strings, string bytes, reserved
ENGINE = struct.Struct("<IIQQ40s")  # kind, reserved, arena, scratch, reserved
IMAGE = struct.Struct("<IIQII40s")  # engine, isa, features, section, core, reserved
TENSOR = struct.Struct("<IIIIQQ8II28s")  # name, dtype, rank, engine, offset, size, dims, picture, reserved
STEP = struct.Struct("<8IQ24s")  # name, op, kernel, kind, image, tiles, first arg, args, code offset, reserved
ARG = struct.Struct("<IIQQI36s")  # space, array, offset, size, name, reserved
ARRAY = struct.Struct("<IIQQqQQQ8s")  # kind, dtype, offset, size, lowest, limit, part, part limit, reserved
STRING = struct.Struct("<I")  # offset

PREAMBLE_HASHED_BYTES = 32
SECTION_ALIGN = 16384
DATA_ALIGN = 64

MAX_SECTIONS = 64
MAX_MANIFEST_BYTES = 1 << 20
MAX_PLAN_BYTES = 1 << 24
MAX_CODE_BYTES = 1 << 26
MAX_SCRATCH_BYTES = 1 << 26
MAX_TENSORS = 4096  # inputs, and as many outputs
MAX_STEPS = 1 << 16
MAX_ARRAYS = 1 << 15
MAX_STRINGS = 1 << 18
MAX_STRING_BYTES = 1 << 14
MAX_PROGRAMS = (MAX_SECTIONS - 6) // 2  # a plan and its code each, besides the other kinds
MAX_LABELS_BYTES = 1 << 20
MAX_LABEL_BYTES = 1 << 10
MAX_ANSWERS_BYTES = 1 << 20
MAX_RANK = 8


class SectionKind(IntEnum):
    """What a section holds."""

    MANIFEST = 1
    PLAN = 2
    CODE = 3
    WEIGHTS = 4
    REPORT = 5
    INDICES = 6
    LABELS = 7
    ANSWERS = 9


MAX_BYTES = {
    SectionKind.MANIFEST: MAX_MANIFEST_BYTES,
    SectionKind.PLAN: MAX_PLAN_BYTES,
    SectionKind.CODE: MAX_CODE_BYTES,
    SectionKind.LABELS: MAX_LABELS_BYTES,
    SectionKind.ANSWERS: MAX_ANSWERS_BYTES,
}
"""Of sections; others may be of any size."""

MANY = frozenset({SectionKind.PLAN, SectionKind.CODE})
"""Kinds of which there may be more than one section: a plan and its code for each kind of machine."""


class SectionFlag(IntFlag):
    """Properties of a section."""

    REQUIRED = 1  # a reader that does not know the kind must refuse the artifact


STEP_CALL = 0

DTYPES = {
    "float32": 1,
    "float16": 2,
    "float64": 3,
    "int8": 4,
    "uint8": 5,
    "int16": 6,
    "uint16": 7,
    "int32": 8,
    "uint32": 9,
    "int64": 10,
    "uint64": 11,
    "bool": 12,
}


PICTURES = {"": 0, "rgb": 1, "bgr": 2, "grey": 3, "rgb-planes": 4, "bgr-planes": 5}


def align_up(offset: int, alignment: int) -> int:
    """The first multiple of `alignment` at or after `offset`."""
    return -(-offset // alignment) * alignment
