"""TIR kernels to one flat, position-independent code image.

TVM compiles the kernels to an object; a C shim for each unpacks the runtime's argument array; the linker
that ships with `ziglang` resolves what is left (compiler-rt, libm of musl) and leaves nothing to relocate.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm
import ziglang
from elftools.elf.elffile import ELFFile
from tvm import tirx

from edgesparse.backends.cpu.causes import cause
from edgesparse.backends.cpu.exact import plain
from edgesparse.backends.cpu.kernel import Kernel
from edgesparse.backends.cpu.llvm import fuses
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.errors import InternalError, LowerError
from edgesparse.isa import ISAS

_MEMORY = """
#include <stddef.h>
#include <stdint.h>
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = (char)value;
    return to;
}
"""
"""What LLVM calls for loops that copy or fill; the linker drops them where no kernel does."""
_CONVERSIONS = """
#ifdef __arm__
float __floatdisf(int64_t x) { return (float)x; }
float __floatundisf(uint64_t x) { return (float)x; }
double __floatdidf(int64_t x) { return (double)x; }
double __floatundidf(uint64_t x) { return (double)x; }
int64_t __fixsfdi(float x) { return (int64_t)x; }
uint64_t __fixunssfdi(float x) { return (uint64_t)x; }
int64_t __fixdfdi(double x) { return (int64_t)x; }
uint64_t __fixunsdfdi(double x) { return (uint64_t)x; }
#endif
"""
"""What TVM's LLVM calls to convert 64-bit integers; compiler-rt for Arm has them only under the names of its ABI."""


PIPELINE = "edgesparse"


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _lower(module: tvm.IRModule, _context: object) -> tvm.IRModule:
    """What plain functions over flat buffers need; TVM's own pipeline takes three times as long for them."""
    passes = [
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
    ]
    lowered = tvm.transform.Sequential(passes)(module)
    functions = {name: plain(func, fuses(func.attrs["target"])) for name, func in lowered.functions.items()}
    return tvm.IRModule(functions, attrs=lowered.attrs)


tirx.register_tir_pipeline(
    PIPELINE,
    lambda: (
        _lower,
        tirx.compilation_pipeline.finalize_host_passes,
        tirx.compilation_pipeline.finalize_device_passes,
    ),
)


@dataclass(frozen=True)
class CodeImage:
    """Machine code that runs wherever it is mapped, page-aligned; `entries` maps a symbol to its offset."""

    data: bytes
    entries: dict[str, int]


def llvm_target(cpu: Cpu) -> tvm.target.Target:
    """The TVM target that generates code for a CPU."""
    config: dict[str, object] = {
        "kind": "llvm",
        "mtriple": cpu.triple,
        "mcpu": cpu.llvm_name,
        "mattr": list(cpu.features),
    }
    if cpu.isa == "armv7":
        config["mfloat-abi"] = "hard"
    return tvm.target.Target(config, host=config)


def compile_kernels(kernels: Sequence[Kernel], target: Target) -> CodeImage:
    """Compile kernels with distinct symbols into one image.

    Raises: LowerError: TVM has no code for a kernel. InternalError: two kernels share a symbol, or the image would
        need the dynamic linker.
    """
    symbols = [kernel.symbol for kernel in kernels]
    if len(set(symbols)) != len(symbols):
        raise InternalError(f"kernel symbols must be distinct, got {sorted(symbols)}")
    if not kernels:
        return CodeImage(bytes(16), {})  # a model of views alone calls nothing, but the section must be there
    bodies = [_body(number) for number in range(len(kernels))]
    functions = {body: k.func.with_attr("global_symbol", body) for body, k in zip(bodies, kernels, strict=True)}
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        kernels_o, shims_c, image = (Path(folder) / name for name in ("kernels.o", "shims.c", "image.elf"))
        try:
            built = tirx.build(tvm.IRModule(functions), llvm_target(target.cpu), pipeline=PIPELINE)
        except Exception as err:  # TVM raises whatever it meets
            raise LowerError(f"TVM cannot generate code for {target.name}: {cause(err)}") from err
        built.write_to_file(str(kernels_o))
        shims_c.write_text(_shims(kernels))
        _link(target, [shims_c, kernels_o], image, symbols)
        return _flatten(image, symbols)


def _shims(kernels: Sequence[Kernel]) -> str:
    """C source of the entry points: `int32_t symbol(void *const *args, int32_t begin, int32_t end, int64_t *fault)`."""
    shims = [_shim(kernel, _body(number)) for number, kernel in enumerate(kernels)]
    return "\n".join([_MEMORY, _CONVERSIONS, *shims]) + "\n"


def _body(number: int) -> str:
    """What the function behind an entry point is called: TVM sorts by names, so that the calls decide the order."""
    return f"body_{number:06}"


def _shim(kernel: Kernel, body: str) -> str:
    count = kernel.arguments
    types = "void *, " * count + "int32_t, int32_t"
    values = "".join(f"args[{i}], " for i in range(count)) + "begin, end"
    head = f"int32_t {kernel.symbol}(void *const *args, int32_t begin, int32_t end, int64_t *fault)"
    if kernel.fails:  # the first field is the kind, which is never 0
        run = f"fault[0] = 0; {body}({values}, fault); return fault[0] != 0;"
        return f"int32_t {body}({types}, int64_t *);\n{head} {{ {run} }}"
    return f"void {body}({types});\n{head} {{ (void)fault; {body}({values}); return 0; }}"


def _link(target: Target, inputs: Sequence[Path], output: Path, symbols: Sequence[str]) -> None:
    command = [
        str(Path(ziglang.__file__).with_name("zig")),  # without an interpreter to start it, in half the time
        "cc",
        "-target",
        ISAS[target.cpu.isa].static_triple,
        "-O2",
        "-fPIE",
        "-static",
        "-pie",
    ]
    command += [
        "-ffreestanding",
        "-ffunction-sections",
        "-fno-sanitize=all",
        "-g0",
        "-Wl,--gc-sections",
        "-Wl,-z,norelro",
        "-Wl,-z,max-page-size=4096",
    ]
    command += [
        f"-Wl,-e,{symbols[0]}",
        *(f"-Wl,-u,{symbol}" for symbol in symbols),
        *map(str, inputs),
        "-o",
        str(output),
    ]
    # Most models call nothing outside; only the others pay for building compiler-rt or, for ten times that, libm once.
    for libraries in (["-nostdlib"], ["-nostdlib", "-rtlib=compiler-rt"], ["-lm"]):
        result = subprocess.run([*command, *libraries], capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return
    raise InternalError(f"linking the kernels for {target.name} failed: {result.stderr.strip()}")


def _flatten(path: Path, symbols: Sequence[str]) -> CodeImage:
    """The loadable part of a linked file as it lies in memory, without what only a linker or loader reads."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        writable = {".dynamic", ".relro_padding", ".got", ".got.plt"}
        for section in elf.iter_sections():
            empty = section["sh_size"] == 0 or section.name in writable
            if section["sh_type"] in ("SHT_REL", "SHT_RELA") and section["sh_size"]:
                raise InternalError(f"{section.name} of the code image holds relocations; kernels must not need any")
            if section["sh_flags"] & 1 and section["sh_flags"] & 2 and not empty:  # SHF_WRITE, SHF_ALLOC
                raise InternalError(f"{section.name} of the code image is writable; kernels must not keep state")
        loads = [s for s in elf.iter_segments("PT_LOAD") if not s["p_flags"] & 2]  # PF_W
        data = bytearray(max(s["p_vaddr"] + s["p_filesz"] for s in loads))
        for segment in loads:
            data[segment["p_vaddr"] : segment["p_vaddr"] + segment["p_filesz"]] = segment.data()
        headers = elf.header["e_phoff"] + elf.header["e_phnum"] * elf.header["e_phentsize"]
        data[:headers] = bytes(headers)  # they say where the symbols are, of which the image has none
        table = elf.get_section_by_name(".symtab")
        entries = {name: table.get_symbol_by_name(name)[0]["st_value"] for name in symbols}
    return CodeImage(bytes(data), entries)
