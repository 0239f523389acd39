"""A board emulated by qemu-user: it computes what the board computes. Its times mean nothing and are not reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgesparse.devices.pipe import Pipe
from edgesparse.devices.programs import esrun
from edgesparse.devices.served import Served
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.isa import ISAS
from edgesparse.package.manifest import alone
from edgesparse.package.reader import read
from edgesparse.package.writer import write

if TYPE_CHECKING:
    import numpy as np

ANY = "max"
"""What QEMU calls a CPU with everything that it can emulate."""


@dataclass(frozen=True)
class Emulated:
    """A target under the emulator of its instruction set, with the target's own CPU where QEMU knows it.

    `plan` is the one of an artifact's plans that is for the target, by its number.
    """

    target: Target
    plan: int = 0

    @property
    def name(self) -> str:
        """Such as "rpi4, emulated"."""
        return f"{self.target.name}, emulated"

    @property
    def emulator(self) -> str:
        """The program."""
        return ISAS[self.target.cpu.isa].emulator

    @property
    def cpu(self) -> str:
        """What is emulated, as QEMU calls it."""
        name = self.target.cpu.llvm_name
        return name if name in _known_cpus(self.emulator) else ANY

    @property
    def note(self) -> str:
        """What is emulated by what."""
        return f"emulated: run by {self.emulator} -cpu {self.cpu}, not on {self.target.name}"

    def is_there(self) -> bool:
        """Whether the emulator is installed."""
        return shutil.which(self.emulator) is not None

    @contextmanager
    def open(self, artifact: Path | str, threads: int = 1) -> Iterator[EmulatedSession]:
        """See `Device`."""
        from edgesparse_runtime import EdgesparseRuntimeError

        program = str(esrun(self.target.cpu.isa))
        with plan_alone(Path(artifact), self.plan) as path:
            try:
                with Pipe([self.emulator, "-cpu", self.cpu, program, "--serve"], str(artifact)) as pipe:
                    yield EmulatedSession(pipe, read(path), os.path.abspath(path), threads)
            except EdgesparseRuntimeError as err:
                raise MeasureError(f"{artifact}: {err}") from err


@contextmanager
def plan_alone(artifact: Path, number: int) -> Iterator[Path]:
    """An artifact with one of the plans: itself, or a temporary one where it has several."""
    found = read(artifact)
    if len(found.programs) == 1:
        yield artifact
        return
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / artifact.name
        write([found.programs[number]], alone(found.manifest, number), path)
        yield path


class EmulatedSession(Served):
    """An artifact that an emulated program has open."""

    def profile(self, *arrays: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """Raises: MeasureError: always, as `time` and `meters` do."""
        raise MeasureError("an emulator's times mean nothing; measure on the device itself")

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """See `profile`."""
        self.profile()

    def meters(self, inputs: Mapping[str, np.ndarray]) -> NoReturn:
        """See `profile`."""
        self.profile()


@cache
def _known_cpus(emulator: str) -> frozenset[str]:
    if shutil.which(emulator) is None:
        return frozenset()
    listed = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, check=False)
    return frozenset(listed.stdout.split())
