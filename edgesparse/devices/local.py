"""This machine: artifacts are run in this process, by the runtime that ships with edgesparse, and timed in another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.devices import host
from edgesparse.devices.pipe import Pipe
from edgesparse.devices.programs import esrun
from edgesparse.devices.served import Served
from edgesparse.devices.session import Profiling, errors_about
from edgesparse.devices.worker import BUILD, Worker
from edgesparse.errors import MeasureError
from edgesparse.inputs import require_kind
from edgesparse.signatures import ARTIFACT

if TYPE_CHECKING:
    import numpy as np
    from edgesparse_runtime import Model, Profile


class Local:
    """This machine."""

    name = "this machine"
    note = ""

    def why_not(self, isa: str, features: Iterable[str]) -> str:
        """Why it cannot run code for an instruction set with some features; empty where it can."""
        return host.detect().why_not(isa, features)

    def refuses(self, artifact: Path | str) -> str:
        """Why its CPU cannot run an artifact; empty where it can, and where something else is wrong with it."""
        from edgesparse_runtime import EdgesparseRuntimeError, Model

        try:
            Model(artifact).close()
        except EdgesparseRuntimeError as err:
            return str(err) if err.status == "ES_ERR_CPU" else ""
        return ""

    @contextmanager
    def open(self, artifact: Path | str, threads: int = 1) -> Iterator[LocalSession]:
        """See `Device`; errors of the runtime become ours."""
        from edgesparse_runtime import Model

        remedy = "compile a model first: edgesparse compile MODEL -o FILE.esp"
        require_kind(Path(artifact), "an edgesparse artifact", MeasureError, ARTIFACT, remedy=remedy)
        with (
            errors_about(artifact),
            Model(artifact, threads=threads) as model,
            Worker(BUILD, artifact, threads) as worker,
        ):
            yield LocalSession(model, worker, Path(artifact), threads)


class LocalSession:
    """An artifact that is open here, and in a process of its own as soon as it is timed."""

    facts = None

    def __init__(self, model: Model, worker: Worker, artifact: Path, threads: int) -> None:
        self._model, self._path, self._threads = model, artifact, threads
        self.inputs, self.outputs, self.plan = model.inputs, model.outputs, model.plan
        self.run, self.top, self.step_times = model.run, model.top, model.step_times
        self.time, self.meters = worker.time, worker.meters

    @property
    def manifest(self) -> dict[str, Any]:
        """Where the artifact came from."""
        return self._model.manifest

    def profile(self, inputs: Mapping[str, np.ndarray], wanted: Profiling, told: Callable[[float], None]) -> Profile:
        """See `Session`; in a process of its own, which has just been started."""
        from edgesparse.package.reader import read

        with Pipe([str(esrun(host.detect().isa)), "--serve"], LOCAL.name) as pipe:
            served = Served(pipe, read(self._path), os.path.abspath(self._path), self._threads)
            return served.profile(inputs, wanted, told)


LOCAL = Local()
