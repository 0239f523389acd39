"""The instruction mix of every micro-kernel, counted in LLVM's assembly: no emulator or CPU of the target is needed.

    python -m tools.mixes rpi4

A micro-kernel is the innermost loop of a kernel with the most multiply-adds. One that spills touches the stack, one
that lost its vectors has fewer of them. `tests/tools/test_mixes.py` holds the counts.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import tvm
from tvm import tirx

from edgesparse import schedule
from edgesparse.backends.cpu.codegen import PIPELINE, llvm_target
from edgesparse.backends.cpu.kernel import Kernel
from edgesparse.backends.cpu.walk import lower_ops
from edgesparse.devices import targets
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.forms import FORMS, candidates
from edgesparse.forms.column import ColumnTile
from edgesparse.forms.dense import DenseTile, fitting_loops
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Experiment, Tile
from edgesparse.forms.tiled import TiledTile
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.ops import Graph, graph_of
from edgesparse.numerics import PLAIN, Numerics
from edgesparse.pipeline.trial_model import experiment_model
from edgesparse.plan import LayerPlan
from edgesparse.tables import Table

M, K, DENSITY = 64, 512, 0.5
RUNS = 2  # tiles of N: none differs from the others

_LABEL = re.compile(r"\.?L\w+(?=:)")
_JUMP = re.compile(r"(?:j\w+|b\.?\w*|cbn?z\s+\w+,|tbn?z\s+\w+, #\d+,)\s+(\.?L\w+)")
_FMA = {
    "x86_64": re.compile(r"(?:\{vex\}\s+)?(?:vfn?m(?:add|sub)\d+[ps]s|vpdpbusd)"),
    "aarch64": re.compile(r"fmla|fmls|fmadd|sdot"),
    "armv7": re.compile(r"v(?:fma|fms|mla|mls)\.f32"),
}
_WIDE: dict[str, dict[int, tuple[str, ...]]] = {
    "x86_64": {512: ("%zmm",), 256: ("%ymm",)},
    "aarch64": {128: (".4s", ".8h")},
    "armv7": {128: ("q",)},
}
_MEMORY = {"x86_64": re.compile(r"\(%(\w+)"), "aarch64": re.compile(r"\[(\w+)"), "armv7": re.compile(r"\[(\w+)")}
_STORE = {
    "x86_64": re.compile(r"v?mov\w*\s[^()]*?,\s*[^,]*\([^()]*\)$"),
    "aarch64": re.compile(r"st"),
    "armv7": re.compile(r"v?st"),
}
_STACK = frozenset({"rsp", "rbp", "sp"})


@dataclass(frozen=True)
class Mix:
    """Instructions of one turn of a micro-kernel, by what they do; `stack` are those that load from or store to it."""

    instructions: int
    fmas: int  # multiply-adds or dot products of whole vectors
    other_fmas: int
    loads: int
    stores: int
    stack: int


def mixes(target: Target) -> dict[str, Mix]:
    """The mix of the micro-kernel of every tile that `tiles` lists, by form and tile."""
    names, kernels = [], []
    for tile, graph in tiles(target):
        names.append(name_of(tile, graph))
        kernels.append(_kernel(graph, tile, target))
    functions = dict(enumerate(_assembly(kernels, target)))
    return {name: micro_kernel(functions[at], target) for at, name in enumerate(names)}


def name_of(tile: Tile, graph: Graph) -> str:
    """Its form and name, behind its element types where those are not floats."""
    numerics = graph.weighted[0].layer.numerics
    return f"{tile.form} {tile.name}" if numerics == PLAIN else f"{numerics} {tile.form} {tile.name}"


def tiles(target: Target) -> Iterator[tuple[Tile, Graph]]:
    """Tiles of every form and element type, each with a layer that it cuts into equal parts."""
    for numerics in target.cpu.numerics:
        yield from _tiles_of(target.cpu, numerics)


def _tiles_of(cpu: Cpu, numerics: Numerics) -> Iterator[tuple[Tile, Graph]]:
    lanes, layer = cpu.lanes(numerics.x), partial(_layer, cpu, numerics)
    for loop in fitting_loops(cpu, numerics):
        yield DenseTile(loop.vectors, 256, loop.rows), layer(loop.vectors * lanes * RUNS)
    largest = {(loop.block, loop.rows, loop.chunk): loop for loop in SparseTile.loops(cpu, numerics)}
    for (block, rows, chunk), loop in largest.items():
        yield SparseTile(loop.vectors, 256, rows, block=block, chunk=chunk), layer(loop.vectors * lanes * RUNS)
    for vectors in (1, 2, 4):
        yield ColumnTile(vectors, K), layer(1, m=vectors * lanes)
    others = (form for form in FORMS if not issubclass(form, TiledTile | ColumnTile))
    for form in others:
        for graph in (layer(1), layer(7, window=3)):
            found = graph.weighted[0].layer
            known = candidates(found, WeightCounts(found.weight, 1), cpu)
            fitting = [each for each in known if type(each) is form]
            yield from ((tile, graph) for tile in fitting[-1:])


def _layer(cpu: Cpu, numerics: Numerics, n: int, *, m: int = M, window: int = 1) -> Graph:
    """A convolution of K elements over `n` columns, behind a window of a square map."""
    channels = K * numerics.x.channels
    trial = Experiment("conv", "", m, channels, n, window, DENSITY, SparseTile(1, K), numerics=numerics)
    return graph_of(experiment_model([trial]), cpu.dotted)


def _kernel(graph: Graph, tile: Tile, target: Target) -> Kernel:
    layer = graph.weighted[0].layer
    plan = LayerPlan("conv", "Conv", 0, 0, 0, layer.numerics, layer.density, tile, 1.0, "given")
    calls = lower_ops(schedule.arrange(graph, {"conv": plan}, target.cpu), target).calls
    return next(call.kernel for call in calls if call.name == "conv")


def _assembly(kernels: Sequence[Kernel], target: Target) -> list[list[str]]:
    """The lines of each kernel as LLVM writes them, without comments and directives."""
    functions = {f"body_{at:06}": kernel.func for at, kernel in enumerate(kernels)}
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    text = tirx.build(tvm.IRModule(named), llvm_target(target.cpu), pipeline=PIPELINE).inspect_source("asm")
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        label = re.match(r"(\w+):", line)
        if label and label[1] in named:
            lines = found.setdefault(label[1], [])
        plain = re.split(r"\s(?:#|//|@)", line)[0].strip()
        if plain and (not plain.startswith(".") or _LABEL.match(plain)):
            lines.append(plain)
    return [found[name] for name in functions]


def micro_kernel(lines: Sequence[str], target: Target) -> Mix:
    """The innermost loop with the most multiply-adds: what stands between its label and the jump back to it."""
    labels = {found[0]: at for at, line in enumerate(lines) if (found := _LABEL.match(line))}
    jumps = ((at, _JUMP.match(line)) for at, line in enumerate(lines))
    loops = [(labels[jump[1]], at) for at, jump in jumps if jump and labels.get(jump[1], at) < at]
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    counted = [_mix(lines[start:end], target) for start, end in inner]
    return max(counted, key=lambda mix: (mix.fmas, mix.other_fmas))


def _mix(lines: Sequence[str], target: Target) -> Mix:
    isa = target.cpu.isa
    wide = _WIDE[isa][target.cpu.vector_bits]
    code = [line for line in lines if not _LABEL.match(line)]
    fmas = [line for line in code if _FMA[isa].match(line)]
    touching = [(line, base) for line in code if not line.startswith("lea") for base in _MEMORY[isa].findall(line)]
    stores = sum(bool(_STORE[isa].match(line)) for line, _ in touching)
    whole = sum(any(form in line.split(None, 1)[1] for form in wide) for line in fmas)
    stack = sum(base in _STACK for _, base in touching)
    return Mix(len(code) + 1, whole, len(fmas) - whole, len(touching) - stores, stores, stack)


def main() -> None:
    """Print the mixes of some targets."""
    parser = argparse.ArgumentParser(prog="python -m tools.mixes", description=__doc__)
    parser.add_argument("targets", nargs="+", help="names, such as rpi4")
    for name in parser.parse_args().targets:
        rows = [(key, *vars(mix).values()) for key, mix in mixes(targets.load(name)).items()]
        print(Table((name, *Mix.__annotations__), rows).text())


if __name__ == "__main__":
    main()
