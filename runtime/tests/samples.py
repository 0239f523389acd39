"""Small models for the tests of the runtime: kernels in C, compiled for any platform, packed as artifacts."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from edgesparse.isa import ISAS
from edgesparse.package.answers import Answers
from edgesparse.program import Arg, Bound, Engine, Image, IndexArray, IndexKind, Program, Space, Step, TensorSpec

M, K, N, TILE = 16, 24, 33, 8
SPMM_TILES = -(-N // TILE)

_KERNELS = Path(__file__).with_name("kernels.c")
_CPUS = {"x86_64": "x86_64", "aarch64": "generic", "armv7": "cortex_a7"}
CPU_FEATURES = {"x86_64": (), "aarch64": ("neon",), "armv7": ("neon", "vfp4")}


@dataclass(frozen=True)
class Kernels:
    """Position-independent machine code, and where its kernels start."""

    code: bytes
    symbols: dict[str, int]


@functools.cache
def kernel_image(isa: str) -> Kernels:
    """Compile the test kernels to a flat image."""
    flags = [
        "-target",
        ISAS[isa].static_triple,
        f"-mcpu={_CPUS[isa]}",
        "-O2",
        "-fPIC",
        "-ffreestanding",
        "-nostdlib",
        "-shared",
    ]
    flags += ["-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-Wl,-Bsymbolic"]
    flags += ["-Wl,-z,max-page-size=4096"]
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "kernels.so"
        command = [sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(library), str(_KERNELS)]
        subprocess.run(command, check=True, capture_output=True)
        return _flatten(library)


def _flatten(library: Path) -> Kernels:
    with library.open("rb") as file:
        elf = ELFFile(file)
        relocations = sum(
            section.num_relocations() for section in elf.iter_sections() if isinstance(section, RelocationSection)
        )
        assert relocations == 0, "the kernels must not need relocations"
        segments = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        image = bytearray(max(segment["p_vaddr"] + segment["p_filesz"] for segment in segments))
        for segment in segments:
            image[segment["p_vaddr"] : segment["p_vaddr"] + segment["p_filesz"]] = segment.data()
        symbols = {
            symbol.name: symbol["st_value"]
            for section in elf.iter_sections()
            if isinstance(section, SymbolTableSection)
            for symbol in section.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC"
        }
    return Kernels(bytes(image), symbols)


@dataclass(frozen=True)
class Sample:
    """A program with inputs and the outputs that numpy computes for them."""

    program: Program
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


class _Arrays:
    """The weights and the indices, one aligned array after another."""

    def __init__(self) -> None:
        self.weights, self.indices = bytearray(), bytearray()
        self.arrays: list[IndexArray] = []

    def add(self, array: np.ndarray, bound: Bound | None = None) -> Arg:
        """Append an array and return the argument that names it."""
        data = self.indices if bound else self.weights
        data += bytes(-len(data) % 64)
        space = Space.INDICES if bound else Space.WEIGHTS
        arg = Arg(space, len(data), array.nbytes, array=len(self.arrays) if bound else 0)
        if bound:
            self.arrays.append(IndexArray(len(data), array.nbytes, bound))
        data += array.tobytes()
        return arg


def sparse_model(isa: str, density: float = 0.3, seed: int = 0) -> Sample:
    """A sparse layer, a gather and a reduction, with every kind of argument and space."""
    rng = np.random.default_rng(seed)
    image = kernel_image(isa)
    w = rng.standard_normal((M, K), np.float32) * (rng.random((M, K)) < density)
    bias = rng.standard_normal(M, np.float32)
    rows = np.concatenate([rng.permutation(M // 2), M // 2 + rng.permutation(M - M // 2)]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum((w != 0).sum(axis=1))]).astype(np.int32)
    nnz = int(indptr[-1])

    arrays = _Arrays()
    half = M // 2
    sparse_args = (
        arrays.add(indptr, Bound(IndexKind.INDPTR, "int32", nnz, part=half, part_limit=int(indptr[half]))),
        arrays.add(np.nonzero(w)[1].astype(np.uint16), Bound(IndexKind.INDEX, "uint16", K)),
        arrays.add(w[w != 0]),
        arrays.add(bias),
    )
    rows_arg = arrays.add(rows, Bound(IndexKind.ORDER, "int32", M, part=half))
    x = TensorSpec("x", "float32", (K, N), 0)
    g = TensorSpec("g", "float32", (M, N), 5376)
    s = TensorSpec("s", "float32", (M,), 7488)
    x_arg = Arg(Space.ARENA, 0, K * N * 4)
    y_arg = Arg(Space.ARENA, 3200, M * N * 4)
    g_arg = Arg(Space.ARENA, 5376, M * N * 4)
    s_arg = Arg(Space.ARENA, 7488, M * 4)
    scratch = Arg(Space.SCRATCH, 0, N * 4)
    steps = (
        Step("conv1", "Conv+Relu", "spmm", image.symbols["spmm"], SPMM_TILES, (*sparse_args, x_arg, y_arg)),
        Step("gather/größe", "Gather", "gather", image.symbols["gather"], M, (rows_arg, y_arg, g_arg)),
        Step("sum", "ReduceSum", "row_sum", image.symbols["row_sum"], M, (g_arg, scratch, s_arg)),
    )
    program = Program(
        engines=(Engine(7552, 192),),
        images=(Image(isa, CPU_FEATURES[isa], image.code),),
        inputs=(x,),
        outputs=(g, s),
        steps=steps,
        weights=bytes(arrays.weights),
        indices=bytes(arrays.indices),
        arrays=tuple(arrays.arrays),
        labels=tuple(f"größe {row}" for row in range(M)),  # of s
    )
    x_value = rng.standard_normal((K, N), np.float32)
    g_value = np.maximum(w @ x_value + bias[:, None], 0)[rows]
    return Sample(program, {"x": x_value}, {"g": g_value, "s": g_value.sum(axis=1)})


def counting_model(isa: str, tiles: int, step_count: int) -> Sample:
    """Each of `step_count` steps adds one to every element: a tile run twice or never shows."""
    image = kernel_image(isa)
    size = tiles * 4
    arg = Arg(Space.ARENA, 0, size)
    steps = tuple(
        Step(f"count{index}", "Add", "count_up", image.symbols["count_up"], tiles, (arg,))
        for index in range(step_count)
    )
    tensor = TensorSpec("counts", "int32", (tiles,), 0)
    arena_bytes = -(-size // 64) * 64
    program = Program((Engine(arena_bytes, 0),), (Image(isa, (), image.code),), (tensor,), (tensor,), steps, b"")
    counts = np.arange(tiles, dtype=np.int32)
    return Sample(program, {"counts": counts}, {"counts": counts + step_count})


def some_answers(program: Program) -> Answers:
    """Hashes that no outputs have, but for the first: there nothing is promised."""
    return Answers(3, (None, *(bytes([index] * 32) for index in range(1, len(program.outputs)))))


def echo_model(isa: str, picture: str, shape: tuple[int, ...]) -> Program:
    """Gives the frame that it takes."""
    size_bytes = -(-int(np.prod(shape)) // 64) * 64
    frame = TensorSpec("frame", "uint8", shape, 0)
    taken = replace(frame, picture=picture)
    return Program((Engine(size_bytes, 0),), (Image(isa, (), kernel_image(isa).code),), (taken,), (frame,), (), b"")


def lookup_model(isa: str, tiles: int) -> Sample:
    """A step that counts, one that refuses ids outside [0, 8), and one that counts again."""
    image = kernel_image(isa)
    stride = -(-tiles * 8 // 64) * 64
    ids, table, y = (
        TensorSpec(*facts)
        for facts in (
            ("ids", "int64", (tiles,), 0),
            ("table", "int32", (8,), stride),
            ("y", "int32", (tiles,), stride + 64),
        )
    )
    table_arg, y_arg = Arg(Space.ARENA, stride, 32), Arg(Space.ARENA, stride + 64, tiles * 4)
    args = (Arg(Space.ARENA, 0, tiles * 8, name="ids"), table_arg, y_arg)
    count = image.symbols["count_up"]
    steps = (
        Step("before", "Add", "count_up", count, 8, (table_arg,)),
        Step("embed", "Gather", "look_up", image.symbols["look_up"], tiles, args),
        Step("after", "Add", "count_up", count, tiles, (y_arg,)),
    )
    program = Program((Engine(2 * stride + 64, 0),), (Image(isa, (), image.code),), (ids, table), (y,), steps, b"")
    ids_value, table_value = np.arange(tiles) * 5 % 8, np.arange(8, dtype=np.int32) * 100
    return Sample(program, {"ids": ids_value, "table": table_value}, {"y": table_value[ids_value] + 2})


def scripted_failure(lookup: Sample, script: Sequence[int]) -> Sample:
    """A `lookup_model` whose second step returns the first number of `script` and reports the others."""
    before, step, after = lookup.program.steps
    weights = np.array(script, np.int64).tobytes()
    offset = kernel_image(lookup.program.images[0].isa).symbols["fail_as"]
    args = (*step.args, Arg(Space.WEIGHTS, 0, len(weights)))
    scripted = replace(step, kernel="fail_as", code_offset=offset, args=args)
    return replace(lookup, program=replace(lookup.program, steps=(before, scripted, after), weights=weights))


def trespassing_model(isa: str, space: Space, byte: int) -> Program:
    """Writes to one byte, counted from the start of a space."""
    image = kernel_image(isa)
    weights = np.array([byte], np.int64).tobytes()
    args = (Arg(space, 0, 4), Arg(Space.WEIGHTS, 0, 8))
    step = Step("trespass", "Write", "trespass", image.symbols["trespass"], 1, args)
    x = TensorSpec("x", "int32", (1,), 0)
    arrays = (IndexArray(0, 4, Bound(IndexKind.INDPTR, "int32", 0)),)
    return Program(
        (Engine(20480, 12288),), (Image(isa, (), image.code),), (x,), (x,), (step,), weights, bytes(4), arrays
    )


def slow_model(isa: str) -> Sample:
    """One step that takes milliseconds."""
    image = kernel_image(isa)
    step = Step(
        "dawdle", "Add", "dawdle", image.symbols["dawdle"], 1, (Arg(Space.ARENA, 0, 4), Arg(Space.ARENA, 64, 4))
    )
    x = TensorSpec("x", "int32", (1,), 0)
    y = TensorSpec("y", "int32", (1,), 64)
    program = Program((Engine(128, 0),), (Image(isa, (), image.code),), (x,), (y,), (step,), b"")
    return Sample(program, {"x": np.array([41], np.int32)}, {"y": np.array([42], np.int32)})


def dividing_program(isa: str, tiles: int) -> Program:
    """One step that works long enough for every thread to have a share, and rounds."""
    image = kernel_image(isa)
    step = Step("divide", "Div", "divide", image.symbols["divide"], tiles, (Arg(Space.ARENA, 0, 4 * tiles),))
    y = TensorSpec("y", "float32", (tiles,), 0)
    return Program((Engine(-(-tiles // 16) * 64, 0),), (Image(isa, (), image.code),), (), (y,), (step,), b"")


def crashing_program(isa: str) -> Program:
    """One step that a session of two threads runs into a crash of its worker."""
    image = kernel_image(isa)
    step = Step("crash", "Add", "crash", image.symbols["crash"], 2, (Arg(Space.ARENA, 0, 4),))
    x = TensorSpec("x", "int32", (1,), 0)
    return Program((Engine(64, 0),), (Image(isa, (), image.code),), (x,), (x,), (step,), b"")
