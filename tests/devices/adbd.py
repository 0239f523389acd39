"""A fake of Android's adbd that the real adb reaches over TCP: the device's end of its protocol, with a shell of ours.

Source: AOSP, packages/modules/adb: protocol.txt, and shell_protocol.h for version 2 of the shell.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

VERSION = 0x0100_0001  # checksums are not looked at
MOST_BYTES = 1 << 18
BANNER = b"device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features=shell_v2,cmd"

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
"""Of the packets of a shell."""


@dataclass
class Stream:
    """A service that a host has opened, and the process that does it."""

    here: int
    there: int
    process: subprocess.Popen[bytes]
    left: bytearray = field(default_factory=bytearray)
    telling: threading.Lock = field(default_factory=threading.Lock)
    acknowledged: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Adbd:
    """A device that listens on a port of loopback until it is closed."""

    def __init__(self, script: str, environment: Mapping[str, str]) -> None:
        """Args: script: runs in bash before the command of a shell, such as functions that make it one of a board."""
        self._script, self._environment = script, dict(environment)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._hosts: list[socket.socket] = []
        self._streams: dict[int, Stream] = {}
        self._writing = threading.Lock()
        self.services: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Be gone, as when the cable is pulled: nobody is told, and what runs is hung up."""
        with suppress(OSError):  # of a socket that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for host in self._hosts:
            with suppress(OSError):
                host.shutdown(socket.SHUT_RDWR)
            host.close()
        for stream in [*self._streams.values()]:
            with suppress(ProcessLookupError):
                os.killpg(stream.process.pid, signal.SIGHUP)
            assert stream.process.stdin
            with suppress(OSError):
                stream.process.stdin.close()  # where nohup has the tests ignore the signal
            stream.process.wait()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                host, _ = self._listener.accept()
                self._hosts.append(host)
                threading.Thread(target=self._serve, args=(host,), daemon=True).start()

    def _serve(self, host: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while True:
                command, first, second, size, _, magic = struct.unpack("<4s5I", _exactly(host, 24))
                assert magic == int.from_bytes(command, "little") ^ 0xFFFF_FFFF
                self._handle(host, command, first, second, _exactly(host, size))

    def _handle(self, host: socket.socket, command: bytes, first: int, second: int, data: bytes) -> None:
        """`first` is the stream's number there, `second` here."""
        if command == b"CNXN":
            self._send(host, b"CNXN", VERSION, MOST_BYTES, BANNER)
        elif command == b"OPEN":
            self._open(host, first, data.rstrip(b"\0").decode())
        elif (stream := self._streams.get(second)) is None:
            return
        elif command == b"OKAY":
            stream.acknowledged.release()
        elif command == b"WRTE":
            self._given(stream, data)
            self._send(host, b"OKAY", stream.here, stream.there)
        elif command == b"CLSE":
            stream.acknowledged.release()
            assert stream.process.stdin
            with suppress(OSError):
                stream.process.stdin.close()

    def _send(self, host: socket.socket, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        magic = int.from_bytes(command, "little") ^ 0xFFFF_FFFF
        with self._writing:
            host.sendall(struct.pack("<4s5I", command, first, second, len(data), 0, magic) + data)

    def _open(self, host: socket.socket, there: int, service: str) -> None:
        self.services.append(service)
        kind, _, command = service.partition(":")
        if kind.split(",")[:2] != ["shell", "v2"]:
            self._send(host, b"CLSE", 0, there)
            return
        process = subprocess.Popen(
            ["bash", "-c", f"{self._script}\n{command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        stream = self._streams[len(self._streams) + 1] = Stream(len(self._streams) + 1, there, process)
        self._send(host, b"OKAY", stream.here, there)
        threading.Thread(target=self._tell, args=(host, stream), daemon=True).start()

    def _given(self, stream: Stream, data: bytes) -> None:
        """What the host writes to a shell."""
        stream.left += data
        assert stream.process.stdin
        while len(stream.left) >= 5:
            kind, size = struct.unpack_from("<BI", stream.left)
            if len(stream.left) < 5 + size:
                return
            content = bytes(stream.left[5 : 5 + size])
            del stream.left[: 5 + size]
            with suppress(OSError, ValueError):
                if kind == STDIN:
                    stream.process.stdin.write(content)
                    stream.process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    stream.process.stdin.close()

    def _tell(self, host: socket.socket, stream: Stream) -> None:
        """Send what a shell prints, and how it ends."""
        with suppress(OSError):
            readers = [
                threading.Thread(target=self._forward, args=(host, stream, kind, pipe), daemon=True)
                for kind, pipe in ((STDOUT, stream.process.stdout), (STDERR, stream.process.stderr))
            ]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            self._write(host, stream, EXIT, bytes([stream.process.wait() & 0xFF]))
            self._send(host, b"CLSE", stream.here, stream.there)

    def _forward(self, host: socket.socket, stream: Stream, kind: int, pipe) -> None:
        with suppress(OSError):
            while part := os.read(pipe.fileno(), MOST_BYTES // 2):
                self._write(host, stream, kind, part)

    def _write(self, host: socket.socket, stream: Stream, kind: int, content: bytes) -> None:
        """One packet, which the host acknowledges before the next."""
        with stream.telling:
            self._send(host, b"WRTE", stream.here, stream.there, struct.pack("<BI", kind, len(content)) + content)
            stream.acknowledged.acquire(timeout=10)


def _exactly(host: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = host.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
