"""The side under test, in a process of its own: it compiles and runs; it may crash or hang without harm."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
CPU_LIMIT_S = 60.0
MEMORY_LIMIT_BYTES = 8 << 30
PATIENCE = 15  # times the limit of CPU time that is waited, on a machine that others use
EMULATORS = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm"}


@dataclass(frozen=True)
class Job:
    """A model to compile and run.

    Args:
        twins: inputs with other arrays; after each run with one of them the session must still be right.
        target: "host", or one whose programs an emulator runs.
        prune: the pattern to prune with before, if any.
        witness: compile with the compiler's own witnesses.
        input_shapes: of inputs for which the file leaves sizes open.
    """

    model: bytes
    feeds: Arrays
    twins: tuple[tuple[str, np.ndarray], ...] = ()
    target: str = "host"
    threads: tuple[int, ...] = (1, 3)
    prune: str | None = None
    compiles: bool = True  # else it is only normalised
    witness: bool = False
    input_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a job.

    `status` is "ran", "refused", "failed" (an exception that is no error of ours), "crashed" or "hung".
    """

    status: str
    text: str = ""
    runs: list[Arrays] = field(default_factory=list)
    twins: list[str | Arrays] = field(default_factory=list)
    pruned: bytes | None = None


class Subject:
    """A process that does jobs; a new one takes its place when it dies."""

    def __init__(self, fault: str | None = None) -> None:
        self._fault = fault
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def do(self, job: Job) -> Result:
        """Do a job."""
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._connection is not None and self._process is not None
        self._connection.send(job)
        try:
            if not self._connection.poll(CPU_LIMIT_S * PATIENCE):
                self.stop()
                return Result("hung", f"no answer within {CPU_LIMIT_S * PATIENCE:g} s")
            answer: Result = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode or 0
            self.stop()
            if -code == signal.SIGPROF:
                return Result("hung", f"more than {CPU_LIMIT_S:g} s of CPU time")
            return Result("crashed", signal.Signals(-code).name if code < 0 else f"exit code {code}")
        return answer

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["edgesparse.backends.cpu.graph", "edgesparse.pipeline.compiling"])
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._fault), daemon=False)
        self._process.start()
        theirs.close()


def _serve(connection: Connection, fault: str | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if fault is not None:
        from tests.fuzz.faults import FAULTS

        FAULTS[fault].apply()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        result = _done(job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(result)


def _done(job: Job) -> Result:
    from edgesparse import EdgesparseError

    try:
        with tempfile.TemporaryDirectory(prefix="edgesparse-fuzz-") as folder:
            return _examined(job, Path(folder))
    except EdgesparseError as err:
        text = str(err)
        return Result("failed", f"an error of several lines: {text}") if "\n" in text else Result("refused", text)
    except Exception as err:
        where = traceback.extract_tb(err.__traceback__)
        ours = [frame for frame in where if "edgesparse" in frame.filename] or list(where)
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}"
        return Result("failed", f"{type(err).__name__} at {place}: {' '.join(str(err).split())[:300]}")


def _examined(job: Job, folder: Path) -> Result:
    import edgesparse

    path = folder / "model.onnx"
    path.write_bytes(job.model)
    if not job.compiles:
        from edgesparse.frontend import read
        from edgesparse.pipeline.stages import normalised

        normalised(read(path), job.input_shapes, lambda text: None)
        return Result("ran")
    pruned = None
    if job.prune is not None:
        dense, path = path, folder / "pruned.onnx"
        edgesparse.prune(dense, path, sparsity=0.8, pattern=job.prune, input_shapes=job.input_shapes)
        pruned = path.read_bytes()
    artifact = edgesparse.compile(
        path, job.target, folder / "model.esp", input_shapes=job.input_shapes, witness=job.witness
    ).artifact
    if job.target != "host":
        return Result("ran", runs=[_emulated(artifact, job, folder)], pruned=pruned)
    return Result("ran", pruned=pruned, **_run(artifact, job))


def _run(artifact: Path, job: Job) -> dict[str, list]:  # type: ignore[type-arg]
    from edgesparse_runtime import EdgesparseRuntimeError, Model

    runs, twins = [], []
    for threads in job.threads:
        with Model(artifact, threads=threads) as session:
            runs.append(session.run(job.feeds))
            if threads != job.threads[0]:
                continue
            for name, array in job.twins:
                try:
                    twins.append(session.run({**job.feeds, name: array}))
                except EdgesparseRuntimeError as err:
                    twins.append(str(err))
                runs.append(session.run(job.feeds))
    return {"runs": runs, "twins": twins}


def _emulated(artifact: Path, job: Job, folder: Path) -> Arrays:
    from edgesparse import load_target
    from runtime import build

    isa = load_target(job.target).cpu.isa
    emulator = shutil.which(EMULATORS[isa])
    assert emulator is not None
    command = [emulator, str(build.esrun(isa)), str(artifact), "--output", str(folder / "out.npz")]
    for index, (name, array) in enumerate(job.feeds.items()):
        np.save(folder / f"in{index}.npy", array)
        command += ["--input", f"{name}={folder / f'in{index}.npy'}"]
    done = subprocess.run([*command, "--threads", "2"], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"esrun ended with {done.returncode}: {done.stderr}")
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def can_emulate(isa: str = "aarch64") -> bool:
    """Whether programs of another machine run here."""
    return shutil.which(EMULATORS[isa]) is not None
