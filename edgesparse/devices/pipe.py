"""Both ways to a program that another one starts: an emulator, ssh or adb."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from edgesparse.errors import MeasureError
from edgesparse.tables import shown

MOST_BYTES = 1 << 28  # of a line
PART_BYTES = 1 << 16
MOST_WORDS = 400  # characters of what a program said
ENDING_S = 2.0
"""How long a program may take to end when its input has ended."""


def is_ready(file: int, event: int, patience_s: float | None) -> bool:
    """Whether a pipe can be read or written, or is broken, before patience ends; its number may be any."""
    waiting = select.poll()
    waiting.register(file, event)
    return bool(waiting.poll(None if patience_s is None else patience_s * 1000))


def last_line(text: bytes | str) -> str:
    """What a program said last; nothing where it said nothing."""
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).strip().splitlines()
    return lines[-1] if lines else ""


_CONSEQUENCES = re.compile(
    r"Host key verification failed\.|client_loop: .*|Connection (closed|reset) by .*|Connection to .* closed.*|"
    r"(packet_write_wait|mux_client_request_session): .*|Killed by signal [0-9]+\.?|lost connection"
)
"""What ssh says last, behind a line that may say why."""

_CAUSES = re.compile(
    r"changed|closed|denied|failed|known|lost|no route|not respond|not resolve|offline|refused|reset|timed out|"
    r"unreachable",
    re.IGNORECASE,
)

_NEWS = re.compile(r"\* daemon .*")
"""What adb says of its own server."""


def last_words(text: bytes) -> str:
    """What a program said last in one line, and why where lines before it tell; nothing where it said nothing."""
    lines = [shown(line.strip()) for line in text.decode(errors="replace").splitlines()]
    lines = [line for line in dict.fromkeys(lines) if line and not _NEWS.fullmatch(line)]
    said = lines[-1:]
    for before in reversed(lines[:-1]):
        if not _CONSEQUENCES.fullmatch(said[0]) or not _CAUSES.search(before):
            break
        said.insert(0, before if before.endswith(".") else f"{before};")
    return " ".join(said)[-MOST_WORDS:].removeprefix("esrun: ").removeprefix("error: ")


class Pipe:
    """A process that is written to and read from, with an end to patience.

    Raises: MeasureError: it cannot be started, its end is closed, or nothing comes for too long.
    """

    def __init__(self, command: Sequence[str], name: str, patience_s: float | None = None) -> None:
        """Start it.

        Args:
            name: what messages call it.
            patience_s: how long nothing may come; as long as it takes by default.
        """
        self.name, self._patience_s, self._program = name, patience_s, command[0]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._errors, start_new_session=True
            )
        except OSError as err:
            raise MeasureError(f"{command[0]}: cannot be started: {err.strerror}") from err
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._left = bytearray()  # that came behind what was asked for

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Another patience, for the length of a `with` block."""
        before, self._patience_s = self._patience_s, seconds
        try:
            yield
        finally:
            self._patience_s = before

    def write(self, content: bytes) -> None:
        """All of it."""
        rest = memoryview(content)
        while rest:
            self._wait(self._in, select.POLLOUT)
            try:
                rest = rest[os.write(self._in, rest[:PART_BYTES]) :]
            except OSError as err:
                raise self._broken() from err

    def line(self) -> bytes:
        """Up to a newline, and with it."""
        seen = 0
        while (at := self._left.find(b"\n", seen)) < 0:
            seen = len(self._left)
            if seen > MOST_BYTES:
                raise MeasureError(f"{self.name}: sent a line of more than {MOST_BYTES} bytes")
            self._fill()
        return self._take(at + 1)

    def read(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._left) < size:
            self._fill()
        return self._take(size)

    def rest(self) -> bytes:
        """What came and was not taken, as far as it is there, and not much of it."""
        while len(self._left) < PART_BYTES and is_ready(self._out, select.POLLIN, 0):
            if not (part := os.read(self._out, PART_BYTES)):
                break
            self._left += part
        return self._take(len(self._left))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken

    def _fill(self) -> None:
        self._wait(self._out, select.POLLIN)
        part = os.read(self._out, PART_BYTES)
        if not part:
            raise self._broken()
        self._left += part

    def _wait(self, file: int, event: int) -> None:
        if not is_ready(file, event, self._patience_s):
            said = self._said()
            why = f"; it said {said!r}" if said else ""
            silence = f"nothing came for {self._patience_s:.0f} s{why}; is the device still there?"
            raise MeasureError(f"{self.name}: {silence}")

    def _said(self) -> str:
        file = self._errors.fileno()
        end = os.pread(file, PART_BYTES, max(0, os.fstat(file).st_size - PART_BYTES))
        return last_words(end).removeprefix(f"{self.name}: ")

    def _broken(self) -> MeasureError:
        """What the program said last, or else that its end is closed, and how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        return MeasureError(f"{self.name}: {self._said() or f'the connection is closed{self._end()}'}")

    def _end(self) -> str:
        status = self._process.returncode
        if not status:
            return ""
        how = f"killed by signal {-status}" if status < 0 else f"status {status}"
        return f" ({os.path.basename(self._program)}: {how})"

    def close(self) -> None:
        """End the process: by the end of its input, else by force."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
