"""Run kernel calls of other instruction sets, under QEMU's user emulation."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import ziglang

from edgesparse.backends.cpu.codegen import compile_kernels
from edgesparse.backends.cpu.kernel import Call
from edgesparse.devices.targets import Target
from edgesparse.isa import ISAS
from edgesparse.program import Constant
from tests.backends.cpu.executor import POISON, Key, key

_LOADER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint32_t number(void) { uint32_t n; if (fread(&n, sizeof n, 1, stdin) != 1) exit(2); return n; }

static void bytes(void *to, uint32_t size) { if (size && fread(to, size, 1, stdin) != 1) exit(3); }

int main(void)
{
    uint32_t size = number();
    char *code = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bytes(code, size);
    if (mprotect(code, size, PROT_READ | PROT_EXEC)) return 4;
    uint32_t entry = number(), tiles = number(), count = number();
    void *arguments[16];
    uint32_t sizes[16];
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = number();
        arguments[i] = aligned_alloc(64, (sizes[i] + 191) / 64 * 64);
        memset(arguments[i], 0xCD, (sizes[i] + 191) / 64 * 64);
        bytes(arguments[i], sizes[i]);
    }
    int64_t fault[16];
    int32_t (*run)(void *const *, int32_t, int32_t, int64_t *);
    char *address = code + entry;
    memcpy(&run, &address, sizeof run);
    for (uint32_t end = tiles, begin; end; end = begin) {
        begin = end / 2;
        run(arguments, (int32_t)begin, (int32_t)end, fault);
    }
    for (uint32_t i = 0; i < count; i++) {
        fwrite(arguments[i], sizes[i], 1, stdout);
        for (uint32_t j = 0; j < 64; j++)
            if (((unsigned char *)arguments[i])[sizes[i] + j] != 0xCD) return 5;
    }
    return 0;
}
"""


@cache
def _loader(isa: str, folder: Path) -> Path:
    source, program = folder / f"{isa}.c", folder / isa
    source.write_text(_LOADER)
    command = [str(Path(ziglang.__file__).with_name("zig")), "cc", "-target", ISAS[isa].static_triple, "-O1"]
    subprocess.run([*command, "-static", str(source), "-o", str(program)], check=True)
    return program


def run_emulated(
    calls: Sequence[Call], feeds: Mapping[str, np.ndarray], target: Target, folder: Path
) -> dict[Key, np.ndarray]:
    """What `run_calls` returns, for a target whose CPU an emulator is; skips the test where there is none.

    Args: folder: where the program lies that loads kernels, for a whole session.
    """
    emulator = shutil.which(ISAS[target.cpu.isa].emulator)
    if emulator is None:
        pytest.skip("QEMU's user emulation is not installed")
    image = compile_kernels(list({call.kernel.symbol: call.kernel for call in calls}.values()), target)
    command = [emulator, *(["-cpu", target.cpu.llvm_name] if target.cpu.isa == "aarch64" else [])]
    command.append(str(_loader(target.cpu.isa, folder)))
    values: dict[Key, np.ndarray] = {}
    for call in calls:
        reads = [
            argument.data if isinstance(argument, Constant) else values.get(key(argument), feeds.get(argument.name))
            for argument in call.reads
        ]
        given = [np.ascontiguousarray(array).tobytes() for array in reads]
        given += [bytes([POISON]) * tensor.size_bytes for tensor in call.writes]
        given += [bytes([POISON]) * call.kernel.scratch_bytes] if call.kernel.scratch_bytes else []
        head = [len(image.data), image.data, image.entries[call.kernel.symbol], call.kernel.tiles, len(given)]
        sent = [part for array in given for part in (len(array), array)]
        fed = b"".join(struct.pack("<I", part) if isinstance(part, int) else part for part in (*head, *sent))
        done = subprocess.run(command, input=fed, stdout=subprocess.PIPE, check=True).stdout
        start = sum(len(array) for array in given[: len(reads)])
        for tensor in call.writes:
            flat = np.frombuffer(done, tensor.dtype, tensor.size, start)
            values[key(tensor)] = flat.reshape(tensor.shape)
            start += tensor.size_bytes
    return values
