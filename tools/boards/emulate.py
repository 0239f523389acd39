"""Run one kernel call for an Arm target under QEMU and say how often each of its instructions ran.

The code image, the pointers and all arguments lie in one file that is mapped at a fixed address, so that counts and
simulated cache misses repeat exactly. Nothing here is a time.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesparse.backends.cpu.codegen import CodeImage
from edgesparse.backends.cpu.kernel import ALIGNMENT_BYTES, Call, Memory
from edgesparse.devices.cpu import Core
from edgesparse.devices.targets import Target
from edgesparse.errors import EdgesparseError, TargetError
from edgesparse.program import OVERREAD_BYTES, Constant

HERE = Path(__file__).parent
BUILT = Path("build/boards")
EMULATOR = "qemu-aarch64"
BASE = 0x40_0000_0000
PAGE_BYTES = 4096
STACK_BYTES = 1 << 20
ZIG = (sys.executable, "-m", "ziglang", "cc", "-O2", "-Wall", "-Wextra", "-Werror")


class EmulatorError(EdgesparseError):
    """QEMU, or its support of plugins, is missing or failed."""


@dataclass(frozen=True)
class Ran:
    """One machine instruction: how often it ran, and the cache misses of its loads and stores."""

    address: int
    runs: int
    l1_misses: int
    l2_misses: int
    text: str


@functools.cache
def tools() -> tuple[Path, Path]:
    """The plugin and the runner, built.

    Raises: EmulatorError: there is no QEMU that loads plugins.
    """
    if shutil.which(EMULATOR) is None:
        raise EmulatorError(f"{EMULATOR} is not installed; install the dynamic qemu-user of your distribution")
    help_text = subprocess.run([EMULATOR, "-help"], capture_output=True, text=True, check=False).stdout
    if "-plugin" not in help_text:
        raise EmulatorError(f"{EMULATOR} has no plugin support; install the dynamic qemu-user, not the static one")
    BUILT.mkdir(parents=True, exist_ok=True)
    plugin, runner = BUILT.absolute() / "plugin.so", BUILT.absolute() / "runner"
    _compile(["-shared", "-fPIC", "-Wl,-z,undefs", HERE / "plugin.c"], plugin)
    _compile(["-target", "aarch64-linux-musl", "-static", "-s", HERE / "runner.c"], runner)
    return plugin, runner


def _compile(words: Sequence[str | Path], output: Path) -> None:
    """Build into a file of its own and rename it, so that several processes may do it at once."""
    with tempfile.NamedTemporaryFile(dir=output.parent, delete=False) as made:
        made.close()
        command = [*ZIG, *map(str, words), "-o", made.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            Path(made.name).unlink()
            raise EmulatorError(f"{output.name}: does not compile: {done.stderr.strip()}")
        Path(made.name).rename(output)


def core_of(target: Target) -> Core:
    """What is known of the target's core.

    Raises: TargetError: nothing is.
    """
    if target.cpu.core is None:
        raise TargetError(f"{target.name}: core: missing; the port model needs what targets/rpi4.toml says of its core")
    return target.cpu.core


def emulate(
    image: CodeImage, call: Call, feeds: Mapping[Memory, np.ndarray], target: Target
) -> tuple[list[Ran], list[np.ndarray]]:
    """Run all tiles of `call`, whose kernel `image` holds, once from cold caches: what its instructions did, by
    address, and what it wrote.

    Raises: EmulatorError: QEMU is missing or the run failed. TargetError: nothing is known of the target's core.
    """
    plugin, runner = tools()
    core, symbol = core_of(target), call.kernel.symbol
    reads = [read.data if isinstance(read, Constant) else feeds[read.memory] for read in call.reads]
    writes = [np.zeros(tensor.shape, tensor.dtype) for tensor in call.writes]
    scratch = [np.zeros(call.kernel.scratch_bytes, np.uint8)] if call.kernel.scratch_bytes else []
    places, memory = _lay_out(image.data, [*reads, *writes, *scratch])
    begin, end = places[len(reads)], places[len(reads) + len(writes) - 1] + writes[-1].nbytes
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        snapshot, counts, result = (Path(folder) / name for name in ("memory", "counts", "result"))
        snapshot.write_bytes(memory)
        options = {
            "begin": BASE,
            "end": BASE + len(image.data),
            "l1": target.cpu.l1d_bytes,
            "l1ways": core.l1d_ways,
            "l2": target.cpu.l2_bytes,
            "l2ways": core.l2_ways,
            "out": counts,
        }
        words = [EMULATOR, "-plugin", ",".join([str(plugin), *(f"{key}={value}" for key, value in options.items())])]
        words += [str(runner), str(snapshot), hex(BASE), str(image.entries[symbol]), str(_pointers_at(image.data))]
        words += [str(call.kernel.tiles), str(begin), str(end - begin), str(result)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmulatorError(f"{symbol}: {EMULATOR} ended with {done.returncode}: {done.stderr.strip()}")
        written = result.read_bytes()
        ran = _read_counts(counts.read_text())
    starts = [place - begin for place in places[len(reads) :]]
    arrays = [
        np.frombuffer(written[start : start + array.nbytes], array.dtype).reshape(array.shape)
        for start, array in zip(starts, writes, strict=False)
    ]
    return ran, arrays


def _pointers_at(code: bytes) -> int:
    return -(-len(code) // PAGE_BYTES) * PAGE_BYTES


def _lay_out(code: bytes, arrays: Sequence[np.ndarray]) -> tuple[list[int], bytes]:
    """Code, pointers, the arrays, each with room to read past its end, and the stack; the offsets of the arrays."""
    at = _pointers_at(code) + PAGE_BYTES
    places = []
    for array in arrays:
        places.append(at)
        at += -(-(array.nbytes + OVERREAD_BYTES) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    memory = bytearray(-(-at // PAGE_BYTES) * PAGE_BYTES + STACK_BYTES)
    memory[: len(code)] = code
    pointers = np.array([BASE + place for place in places], np.uint64).tobytes()
    memory[_pointers_at(code) : _pointers_at(code) + len(pointers)] = pointers
    for place, array in zip(places, arrays, strict=True):
        memory[place : place + array.nbytes] = np.ascontiguousarray(array).tobytes()
    return places, bytes(memory)


def _read_counts(text: str) -> list[Ran]:
    """One entry an address; QEMU may have translated an instruction more than once."""
    found: dict[int, Ran] = {}
    for line in text.splitlines():
        address, *numbers, words = line.split(maxsplit=4)
        at = int(address, 16)
        runs, l1, l2 = map(int, numbers)
        before = found.get(at, Ran(at, 0, 0, 0, words))
        found[at] = Ran(at, before.runs + runs, before.l1_misses + l1, before.l2_misses + l2, words)
    return [found[at] for at in sorted(found)]
