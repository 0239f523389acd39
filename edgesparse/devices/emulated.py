"""A board emulated by qemu-user: it computes what the board computes. Its times mean nothing and are not reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgesparse.devices.pipe import Pipe
from edgesparse.devices.programs import esrun
from edgesparse.devices.served import Served
from edgesparse.devices.session import Profiling, errors_about
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.isa import ISAS
from edgesparse.package.reader import Artifact, read
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
        command = [self.emulator, "-cpu", self.cpu, str(esrun(self.target.cpu.isa)), "--serve"]
        found = read(Path(artifact))
        with (
            errors_about(artifact),
            plan_alone(found, self.plan, Path(artifact)) as path,
            Pipe(command, str(artifact)) as pipe,
        ):
            yield EmulatedSession(pipe, found.alone(self.plan), os.path.abspath(path), threads)


@contextmanager
def plan_alone(found: Artifact, number: int, file: Path) -> Iterator[Path]:
    """A file with one of an artifact's plans: its own, or a temporary one where it has several."""
    if len(found.programs) == 1:
        yield file
        return
    only = found.alone(number)
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / file.name
        write(only.programs, only.manifest, path)
        yield path


class EmulatedSession(Served):
    """An artifact that an emulated program has open."""

    def step_times(self, *arrays: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """Raises: MeasureError: always, as `profile`, `time` and `meters` do."""
        raise MeasureError("an emulator's times mean nothing; measure on the device itself")

    def profile(self, inputs: Mapping[str, np.ndarray], wanted: Profiling, told: Callable[[float], None]) -> NoReturn:
        """See `step_times`."""
        self.step_times()

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """See `step_times`."""
        self.step_times()

    def meters(self, inputs: Mapping[str, np.ndarray]) -> NoReturn:
        """See `step_times`."""
        self.step_times()


@cache
def _known_cpus(emulator: str) -> frozenset[str]:
    if shutil.which(emulator) is None:
        return frozenset()
    listed = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, check=False)
    return frozenset(listed.stdout.split())
