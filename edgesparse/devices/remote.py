"""A board that the user's own ssh or adb reaches. Nothing runs there but what a session starts, and nothing listens."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edgesparse.devices import bandwidth, facts
from edgesparse.devices.cooling import wait
from edgesparse.devices.cores import chosen
from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.fitting import ALSO, require_fit
from edgesparse.devices.lines import answer
from edgesparse.devices.pipe import Pipe
from edgesparse.devices.programs import esrun
from edgesparse.devices.served import Served
from edgesparse.devices.session import errors_about
from edgesparse.devices.shell import Shell
from edgesparse.errors import MeasureError
from edgesparse.isa import ISAS
from edgesparse.package.reader import read

ADB = "adb:"
PATIENCE_S = 600.0
"""How long nothing may come from a device: longer than any run there."""

_SSH = ("ssh", "-T", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
"""A connection that is cut is found out within 15 seconds."""

_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgesparse/on"'
_ADB_CACHE = '"${TMPDIR:-/data/local/tmp}/edgesparse"'

DIGITS = 16  # of a SHA-256 that a file there is called by


def ignored(what: str, share: float) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Remote:
    """A device by its name for ssh, such as "pi@board", or "adb:SERIAL"; "adb:" is the only one.

    `told` is called with what is copied there and the share of it that has arrived. `cores` are those that artifacts
    run on, as `cores.chosen` reads them; they run once the device is as cool as `cool_c`, in degrees Celsius.
    """

    on: str
    told: Callable[[str, float], None] = field(default=ignored, compare=False)
    cores: str | None = None
    cool_c: float | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return "adb" if self.on == ADB else self.on

    @property
    def note(self) -> str:
        """Where results are from."""
        return f"on {self.name}"

    @property
    def _command(self) -> Sequence[str]:
        """What starts a shell there.

        Raises: MeasureError: the name is none.
        """
        if self.on.startswith(ADB):
            serial = self.on.removeprefix(ADB)
            return ("adb", *(("-s", serial) if serial else ()), "shell", "-T", "sh")
        if not self.on or self.on.startswith("-") or any(sign.isspace() for sign in self.on):
            raise MeasureError(f"on: got {self.on!r}, expected a name for ssh, such as pi@board, or adb:SERIAL")
        return (*_SSH, self.on, "sh")

    @property
    def _cache(self) -> str:
        """The folder for what is copied, as a shell there writes it."""
        return _ADB_CACHE if self.on.startswith(ADB) else _CACHE

    @contextmanager
    def open(self, artifact: Path | str, threads: int = 1) -> Iterator[Served]:
        """See `Device`: copies the artifact and the program that runs it, where they are not there from before."""
        path, found = Path(artifact), read(Path(artifact))
        with self.shell() as shell:
            told = _facts(shell)
            isa = self._isa(told, {image.isa for each in found.programs for image in each.images})
            require_fit(told, found, self.name, str(artifact))
            cores = () if self.cores is None else chosen(self.cores, told.cores, self.name)
            folder, program = self._folder(shell), esrun(isa)
            runs = self._put(shell, program, f"{folder}/esrun-", "", "the runtime")
            there = self._put(shell, path, f"{folder}/", ".esp", path.name)
            if self.cool_c is not None:
                told = wait(partial(_facts, shell), self.cool_c, self.name, self.told)
            shell.become(f"{shlex.quote(runs)} --serve")
            with errors_about(artifact):
                yield Served(shell.pipe, found, there, threads, f"{folder}/lock", told, cores)

    def facts(self) -> DeviceFacts:
        """What it says of itself now.

        Raises: MeasureError: it cannot be reached.
        """
        with self.shell() as shell:
            return _facts(shell)

    def bandwidth(self, told: DeviceFacts, size: int, threads: int, cores: Sequence[int] = ()) -> tuple[int, int]:
        """Bytes of its main memory that so many threads read in a second, and that one reads.

        Args:
            told: what it has said of itself.
            size: of the buffer, in bytes.
            cores: the numbers of those that the threads run on; any, without.

        Raises: MeasureError: it cannot be reached, or cannot measure now.
        """
        with self.shell() as shell:
            program, folder = esrun(self._isa(told, ())), self._folder(shell)
            runs = self._put(shell, program, f"{folder}/esrun-", "", "the runtime")
            self.told(f"reading the memory of {self.name}", 0.0)
            shell.become(f"{shlex.quote(runs)} --serve")
            answer(shell.pipe)
            each = (bandwidth.measured(shell.pipe, size, count, cores, f"{folder}/lock") for count in (threads, 1))
            return next(each), next(each)

    def _put(self, shell: Shell, file: Path, before: str, after: str, what: str) -> str:
        """Copy a file there, and call it by its content between two texts; returns its path."""
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        path = f"{before}{digest[:DIGITS]}{after}"
        shell.put(content, digest, path, partial(self.told, f"copying {what} to {self.name}"))
        return path

    def clean(self) -> None:
        """Remove what was copied there.

        Raises: MeasureError: the device cannot be reached, something cannot be removed, or somebody measures there.
        """
        lock = f"{self._cache}/lock"
        is_held = f"[ -e {lock} ] && command -v flock > /dev/null && ! flock -n {lock} true"
        with self.shell() as shell:
            status, _ = shell.run(f"( ! {{ {is_held}; }} )")
            if status:
                raise MeasureError(f"{self.name}: is not cleaned, somebody measures there; clean it when they are done")
            shell.output(f"rm -rf {self._cache}")

    @contextmanager
    def shell(self) -> Iterator[Shell]:
        """A shell there, for the length of a `with` block.

        Raises: MeasureError: it cannot be reached.
        """
        with Pipe(self._command, self.name, PATIENCE_S) as pipe:
            yield Shell(pipe)

    def _folder(self, shell: Shell) -> str:
        """Where files go there; made, if it is not there."""
        return shell.output(f"mkdir -p {self._cache} && cd {self._cache} && pwd")

    def _isa(self, told: DeviceFacts, wanted: Collection[str]) -> str:
        """The instruction set to run there: the machine's own, or of the artifact's one that its kernel runs, too."""
        if told.isa is None:
            known = ", ".join(name for row in ISAS.values() for name in row.machines)
            raise MeasureError(f"{self.name}: is a {told.machine or 'machine without a name'}, expected one of {known}")
        also = ALSO.get(told.isa, told.isa)
        return also if told.isa not in wanted and also in wanted else told.isa


def _facts(shell: Shell) -> DeviceFacts:
    _, printed = shell.run(facts.script())
    return facts.parse(printed)
