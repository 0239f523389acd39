"""Compile models for every target and keep hashes of each artifact: of its code, its weights and its plan."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesparse.devices import targets
from models import small, zoo
from tools.hashes.graphs import GRAPHS, PATTERNS

PARTS = ("code", "weights", "plan")
TARGETS = tuple(name for name in targets.names() if name != targets.HOST)  # what caches hold of `host` differs
MODEL_PATTERNS = ("dense", "0.8")
ZIG_CACHE = Path("build/cache/zig").absolute()  # of libraries that the linker builds once
ARTIFACTS_A_PROCESS = 16  # after which a new one takes over, so that none grows

Hashes = dict[str, Any]
"""By part, in hex; `kernels` names the kinds of kernels."""


@dataclass(frozen=True)
class Case:
    """One artifact to make: a file, or a name in GRAPHS, small.SMALL or zoo.ZOO, pruned as PATTERNS says."""

    model: str
    pattern: str
    target: str

    @property
    def name(self) -> str:
        """What it is called in files."""
        return f"{Path(self.model).stem} {self.pattern} {self.target}"

    def source(self, folder: Path) -> Path:
        """The model's file, made in `folder` where it has none."""
        if self.model in GRAPHS:
            return GRAPHS[self.model].write(folder / f"{self.model}.onnx")
        if self.model in small.SMALL:
            return small.build(self.model, folder / f"{self.model}.onnx")
        return zoo.cached(self.model) if self.model in zoo.ZOO else Path(self.model)

    def hashes(self) -> Hashes:
        """Compile it; `refused` in place of hashes says why it cannot be."""
        import edgesparse
        from edgesparse.package.reader import read

        with tempfile.TemporaryDirectory() as name, caches(name):
            folder = Path(name)
            output = folder / "model.esp"
            try:
                edgesparse.compile(self.source(folder), self.target, output, witness=False, **PATTERNS[self.pattern])
            except edgesparse.EdgesparseError as err:
                return {"refused": str(err).replace(name, "")}
            (program,) = read(output).programs
            return hashes_of(program)


@contextmanager
def caches(folder: str) -> Iterator[None]:
    """Let nothing that this machine measured be found, and the linker keep what it built, for a while."""
    before = dict(os.environ)
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(ZIG_CACHE))
    os.environ["XDG_CACHE_HOME"] = folder  # where measured cost tables would be
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def hashes_of(program: Any) -> Hashes:
    """Hashes of a program; the plan without the symbols of kernels."""
    steps = [(step.name, step.op, step.code_offset, step.tiles, step.args) for step in program.steps]
    (engine,), (image,) = program.engines, program.images
    facts = (image.isa, image.cpu_features, engine.arena_bytes, engine.scratch_bytes)
    plan = repr((facts, program.inputs, program.outputs, steps, program.arrays, program.labels))
    contents = (image.code, program.weights + program.indices, plan.encode())
    found = {part: hashlib.sha256(content).hexdigest() for part, content in zip(PARTS, contents, strict=True)}
    return {**found, "kernels": sorted({_kind(step.kernel) for step in program.steps})}


def _kind(symbol: str) -> str:
    """The operator, the format, and the element type of a kernel."""
    words = symbol.removeprefix("es_").partition("__")[0].split("_")
    return "_".join(word for word in words if word.isalpha() or re.fullmatch("([fiub](8|16|32|64))+", word))


def forms() -> list[Case]:
    """The quick set: small networks that bring every kind of kernel."""
    return [
        Case(name, pattern, target)
        for target in TARGETS
        for name, graph in GRAPHS.items()
        for pattern in graph.patterns
    ]


def models(folder: Path | None) -> list[Case]:
    """The long set: the zoo, the light models, and the ONNX files of a folder."""
    files = sorted(map(str, folder.glob("*.onnx"))) if folder is not None else []
    names = [*small.SMALL, *files, *zoo.ZOO]
    return [Case(name, pattern, target) for name in names for pattern in MODEL_PATTERNS for target in TARGETS]


def record(cases: Sequence[Case], path: Path, jobs: int) -> Iterator[str]:
    """Append the hashes of cases that the file does not hold yet, a line each; yields their names as they are done."""
    known = read(path) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(map(_line, known.items())))  # without what was cut off
    missing = [case for case in cases if case.name not in known]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, maxtasksperchild=ARTIFACTS_A_PROCESS) as pool, path.open("a") as file:
        for entry in pool.imap_unordered(_made, missing):
            file.write(_line(entry))
            file.flush()
            yield entry[0]


def _line(entry: tuple[str, Hashes]) -> str:
    return json.dumps({"name": entry[0], **entry[1]}) + "\n"


def _made(case: Case) -> tuple[str, Hashes]:
    return case.name, case.hashes()


def read(path: Path) -> dict[str, Hashes]:
    """Hashes by the name of the case; what was cut off at the end counts as missing."""
    found = {}
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            entry = json.loads(line)
            found[entry.pop("name")] = entry
    return found


def differences(before: Mapping[str, Hashes], after: Mapping[str, Hashes]) -> dict[str, str]:
    """What is not the same, in words, by the name of the case."""
    told = {}
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            told[name] = "only before" if other is None else "only after"
        elif parts := [part for part in (*PARTS, "refused") if one.get(part) != other.get(part)]:
            told[name] = ", ".join(parts)
    return told
