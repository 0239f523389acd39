"""A board emulated by qemu-user: it computes what the board computes. Its times mean nothing and are not reported."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgesparse.devices.programs import esrun
from edgesparse.devices.targets import Target
from edgesparse.errors import MeasureError
from edgesparse.isa import ISAS
from edgesparse.package.manifest import alone
from edgesparse.package.reader import Artifact, read
from edgesparse.package.writer import write

if TYPE_CHECKING:
    import numpy as np
    from edgesparse_runtime import Tensor

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
            words = [self.emulator, "-cpu", self.cpu, program, str(path), "--threads", str(threads)]
            try:
                yield EmulatedSession(read(path), words)
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


class EmulatedSession:
    """An artifact that an emulated program opens anew for every run."""

    def __init__(self, artifact: Artifact, command: Sequence[str]) -> None:
        self._artifact, self._command = artifact, command

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What it takes."""
        return _tensors(self._artifact.programs[0].inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""
        return _tensors(self._artifact.programs[0].outputs)

    @property
    def manifest(self) -> dict[str, Any]:
        """Where it came from."""
        return self._artifact.manifest

    def check(self) -> None:
        """Open it.

        Raises: MeasureError: the emulated CPU does not run it.
        """
        self._call(self._command)

    def run(self, *arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference: outputs by name.

        Raises: MeasureError: the program ends with an error.
        """
        import numpy as np
        from edgesparse_runtime import arrange

        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            words = [*self._command, "--output", f"{folder}/outputs.npz"]
            for at, (tensor, array) in enumerate(zip(self.inputs, arrange(arrays, self.inputs), strict=True)):
                np.save(f"{folder}/{at}.npy", array, allow_pickle=False)
                words += ["--input", f"{tensor.name}={folder}/{at}.npy"]
            self._call(words)
            with np.load(f"{folder}/outputs.npz") as outputs:
                return dict(outputs)

    def _call(self, words: Sequence[str]) -> None:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"{words[0]} ended with {done.returncode}"]
            raise MeasureError(lines[-1].removeprefix("esrun: "))

    def top(self, outputs: Mapping[str, np.ndarray], count: int = 5) -> Sequence[tuple[str, float]]:
        """The largest elements of the output that the artifact's labels name, with their labels."""
        from edgesparse_runtime import largest

        labels = self._artifact.programs[0].labels
        named = next((o for o in self.outputs if prod(o.shape) == len(labels)), self.outputs[0])
        return largest(outputs, named.name, labels, count)

    def profile(self, *arrays: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """Raises: MeasureError: always, as `time` and `meters` do."""
        raise MeasureError("an emulator's times mean nothing; measure on the device itself")

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> NoReturn:
        """See `profile`."""
        self.profile()

    def meters(self, inputs: Mapping[str, np.ndarray]) -> NoReturn:
        """See `profile`."""
        self.profile()


def _tensors(specs: Sequence[Any]) -> tuple[Tensor, ...]:
    import numpy as np
    from edgesparse_runtime import Tensor

    return tuple(Tensor(spec.name, np.dtype(spec.dtype), tuple(spec.shape), spec.picture) for spec in specs)


@cache
def _known_cpus(emulator: str) -> frozenset[str]:
    if shutil.which(emulator) is None:
        return frozenset()
    listed = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, check=False)
    return frozenset(listed.stdout.split())
