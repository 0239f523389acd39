"""What a back end hands to `package`: images of code, weights and a straight line of kernel calls over one arena."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MAX_STEP_ARGS = 64
"""The most arguments of one kernel call; the runtime has room for no more."""

MAX_ARENA_BYTES = 1 << 34
"""The largest arena; the runtime opens no artifact that needs a larger one."""

OVERREAD_BYTES = 256
"""How far kernels may read past an operand; so many bytes that belong to nobody end the weights and the indices."""


class EngineKind(IntEnum):
    """What runs steps."""

    CPU = 0


@dataclass(frozen=True)
class Engine:
    """An engine of a program, and the memory that it needs."""

    arena_bytes: int
    scratch_bytes: int  # for each thread
    kind: EngineKind = EngineKind.CPU


@dataclass(frozen=True)
class Image:
    """Code for an engine, and what a machine must have to run it.

    `core` is the CPU that it was tuned for, as MIDR_EL1 tells implementer and part; 0 for any. A runtime that can
    choose prefers code for its own core.
    """

    isa: str  # "x86_64", "aarch64" or "armv7"
    cpu_features: tuple[str, ...]  # such as ("avx2", "fma")
    code: bytes
    core: int = 0
    engine: int = 0  # its number among those of the program


class Space(IntEnum):
    """Memory that an argument points into."""

    ARENA = 0
    WEIGHTS = 1
    SCRATCH = 2  # one private copy for each worker thread
    INDICES = 3


class IndexKind(IntEnum):
    """What the runtime proves about an array of indices before the first run."""

    INDPTR = 1
    INDEX = 2
    ORDER = 3


@dataclass(frozen=True)
class Bound:
    """What is proved about an array of indices, which kernels follow as they are.

    INDPTR: starts at 0, never falls, ends at `limit`; element `part` is `part_limit`.
    INDEX: each is in [lowest, limit), and those from element `part` on are below `part_limit` if that is not 0.
    ORDER: each is below `limit`; cut into parts of `part` numbers, element i is in the part that i % limit is in.
    """

    kind: IndexKind
    dtype: str  # int32 for INDPTR; uint16, int32 or int64
    limit: int
    lowest: int = 0
    part: int = 0
    part_limit: int = 0


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of the artifact: a weight, or indices and what the runtime proves about them."""

    data: np.ndarray
    bound: Bound | None = None


@dataclass(frozen=True)
class IndexArray:
    """Where an array of indices lies in the indices, and what is proved about it. Arrays ascend and are disjoint."""

    offset_bytes: int
    size_bytes: int
    bound: Bound


class FaultKind(IntEnum):
    """What is wrong with a value that a kernel refuses."""

    INTEGER = 1  # it is not in [lowest, highest]
    FLOAT = 2  # it is not in [lowest, highest], or is NaN; the three are the bits of a float64
    DIVISOR = 3  # it is 0


FAULT_FIELDS = ("kind", "operand", "element", "found", "lowest", "highest", "reserved0", "reserved1")
"""The int64 fields of the record that a kernel which fails fills in."""


@dataclass(frozen=True)
class Arg:
    """One pointer handed to a kernel, and the bytes behind it that the kernel may touch.

    Offsets are 64-byte aligned. In INDICES it is a whole array, whose number is `array`. `name` is what a message about
    its content calls it.
    """

    space: Space
    offset_bytes: int
    size_bytes: int
    name: str = ""
    array: int = 0


@dataclass(frozen=True)
class Step:
    """One kernel call: `kernel(args, begin, end, fault)` over disjoint ranges that cover [0, tiles)."""

    name: str  # ONNX name of the layer, for profiles and error messages
    op: str  # what it computes, such as "Conv+Relu"
    kernel: str  # symbol, such as es_conv_f32_csr_u4k128__x86_64_v4
    code_offset: int
    tiles: int
    args: tuple[Arg, ...]
    image: int = 0  # number of the image that holds the kernel; its engine runs the step


@dataclass(frozen=True)
class TensorSpec:
    """A model input or output: a dense row-major tensor in the arena."""

    name: str
    dtype: str  # numpy name
    shape: tuple[int, ...]
    offset_bytes: int
    picture: str = ""  # what the pixels of an input mean: "rgb", "bgr", "grey", "rgb-planes" or "bgr-planes"


@dataclass(frozen=True)
class Program:
    """A model compiled for one kind of machine, ready to be packed; runtimes of today know one engine and one image."""

    engines: tuple[Engine, ...]
    images: tuple[Image, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    weights: bytes
    indices: bytes = b""
    arrays: tuple[IndexArray, ...] = ()
    labels: tuple[str, ...] = ()  # names of the elements of the first output that has as many
