"""A shell at the other end of a pipe, which copies files there and becomes a program."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable

from edgesparse.devices.pipe import Pipe, last_line
from edgesparse.errors import MeasureError

CHUNK_BYTES = 1 << 22
"""That are sent before the shell is asked whether they were written."""

QUOTED = 120  # characters of what a login prints


class Shell:
    """`sh`, spoken to line by line. What it sends before the first answer, such as a greeting, is skipped.

    The shell may read ahead, so nothing is sent while it has something to do but what that command reads.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._mark = secrets.token_hex(8)

    def run(self, command: str, content: bytes | None = None) -> tuple[int, str]:
        """Status and output of a command, which reads `content` where that is given.

        Raises: MeasureError: the connection breaks.
        """
        begin, end = f"begin {self._mark}", f"end {self._mark} "
        self._begin(f"echo; echo {begin}; {{ {command}; }} 2>&1; printf '\\n{end}%s\\n' $?\n", begin)
        if content is not None:
            self.pipe.write(content)
        lines: list[str] = []
        while not (line := self.pipe.line().decode(errors="replace").rstrip("\r\n")).startswith(end):
            lines.append(line)
        return int(line.removeprefix(end)), "\n".join(lines).strip()

    def _begin(self, commands: str, begin: str) -> None:
        """Send commands, and skip what a login prints before their first line.

        Raises: MeasureError: the connection breaks; with what was printed last, which may say why.
        """
        said = ""
        try:
            self.pipe.write(commands.encode())
            while (line := self.pipe.line().decode(errors="replace").strip()) != begin:
                said = line or said
        except MeasureError as err:
            said = last_line(self.pipe.rest()) or said
            raise MeasureError(f"{err}; before that it said {said[:QUOTED]!r}" if said else str(err)) from err

    def output(self, command: str) -> str:
        """What a command prints.

        Raises: MeasureError: it fails.
        """
        status, text = self.run(command)
        if status:
            raise MeasureError(f"{self.pipe.name}: {last_line(text) or command} (exit status {status})")
        return text

    def put(self, content: bytes, digest: str, path: str, told: Callable[[float], None]) -> None:
        """Make an executable file there, if it is not there already; a copy that broke off is gone on with.

        Args:
            digest: SHA-256 of the content.
            told: is called with the share that is there.

        Raises: MeasureError: it cannot be written there, or arrives damaged.
        """
        if self._size(path) == len(content):
            return
        part = shlex.quote(f"{path}.part")
        there = self._size(f"{path}.part")
        if there > len(content):
            self.output(f"rm -f {part}")
            there = 0
        while there < len(content):
            told(there / len(content))
            chunk = content[there : there + CHUNK_BYTES]
            # What cannot be written is read all the same: the shell would take it for commands.
            receive = f"head -c {len(chunk)} | {{ cat >> {part} || {{ cat > /dev/null; false; }}; }}"
            status, text = self.run(receive, chunk)
            if status:
                raise MeasureError(f"{self.pipe.name}: cannot write {path}: {last_line(text)}; free some space there")
            there += len(chunk)
        self._require_same(f"{path}.part", digest)
        self.output(f"chmod 755 {part} && mv {part} {shlex.quote(path)}")

    def _size(self, path: str) -> int:
        """Bytes of a file there; 0 where there is none."""
        _, text = self.run(f"wc -c < {shlex.quote(path)}")
        return int(text) if text.isdigit() else 0

    def _require_same(self, path: str, digest: str) -> None:
        """Check what was copied, where the device can."""
        status, text = self.run(f"sha256sum {shlex.quote(path)}")
        if status == 0 and text.split()[0] != digest:
            self.run(f"rm -f {shlex.quote(path)}")
            raise MeasureError(f"{self.pipe.name}: {path} arrived damaged; try again")

    def become(self, program: str) -> None:
        """Let a program take the place of the shell, at this end of the pipe."""
        self.pipe.write(f"exec {program}\n".encode())
