"""Boards that tests reach: a shell in the place of ssh, and a real server on loopback where there is one."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgesparse
from tests.cli.models import classifier
from tests.devices import boards
from tests.devices.adbd import Adbd


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("remote") / "model.onnx")


@pytest.fixture(scope="session")
def artifact(model) -> Path:
    return edgesparse.compile(model, "host", model.with_name("my model's.esp"), labels=list("abcde")).artifact


Place = Callable[[str], Path]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    """Puts a script in the place of ssh; returns where the board keeps what is copied there."""
    board = tmp_path / "a board's"
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    def put(script: str) -> Path:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin/ssh").write_text(f"#!/bin/sh\nexport XDG_CACHE_HOME={shlex.quote(str(board))}\n{script}\n")
        (tmp_path / "bin/ssh").chmod(0o755)
        return board / "edgesparse" / "on"

    return put


@pytest.fixture
def folder(place) -> Path:
    return place("exec sh")


SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin") or ""


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Path]:
    """A folder with the configuration of ssh for `BOARD`: a server on loopback, an aarch64 board if QEMU can be one."""
    if not SSHD:
        pytest.skip("openssh-server is not installed")
    folder = tmp_path_factory.mktemp("sshd")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    emulator = shutil.which("qemu-aarch64")
    board = boards.plant(boards.pi4(), folder / "board")
    (folder / "board.sh").write_text(
        f"export XDG_CACHE_HOME='{folder}/cache'\n"
        + boards.functions(board, emulator=f"{emulator} -cpu cortex-a72" if emulator else "")
    )
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"ForceCommand BASH_ENV={folder}/board.sh bash\n"
    )
    known = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
    (folder / "known").write_text(known)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "config").write_text(
        f"Host board\nHostName 127.0.0.1\nPort {port}\nUser {user}\nIdentityFile {folder}/user\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder}/known\nStrictHostKeyChecking yes\nLogLevel ERROR\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    serving = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("w"))
    time.sleep(0.5)
    yield folder
    serving.terminate()
    serving.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def ssh(server, place) -> Path:
    """The real client, with that configuration."""
    place(f'exec {shutil.which("ssh", path="/usr/bin:/usr/local/bin")} -F {server}/config "$@"')
    return server


PHONE = {"proc/cpuinfo": "processor : 0\nprocessor : 1\n"}


@pytest.fixture(scope="module")
def adb(tmp_path_factory) -> Iterator[Callable[..., str]]:
    """The real client, with a server of its own."""
    program = shutil.which("adb")
    if program is None:
        pytest.skip("adb is not installed")
    home = tmp_path_factory.mktemp("adb")
    own = {"ANDROID_ADB_SERVER_PORT": str(free_port()), "HOME": str(home), "ANDROID_SDK_HOME": str(home)}
    before = {name: os.environ.get(name) for name in own}
    os.environ |= own

    def run(*arguments: str) -> str:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout

    run("start-server")
    yield run
    run("kill-server")
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture
def phone(adb, tmp_path) -> Iterator[Callable[..., Adbd]]:
    """Connects phones of a name, with more functions of their shells; each has a folder for temporary files."""
    found: list[Adbd] = []

    def connect(name: str = "phone", more: str = "") -> Adbd:
        board, temporary = boards.plant(PHONE, tmp_path / name), tmp_path / f"{name}'s"
        temporary.mkdir()
        getprop = f'getprop() {{ [ "$1" = ro.product.model ] && echo "{name} 9"; }}'
        script = boards.functions(board, '"$(command uname -m)"', more=f'{getprop}\n{more}\nsh() {{ exec bash "$@"; }}')
        device = Adbd(f"{script}\nexport -f $(compgen -A function)", os.environ | {"TMPDIR": str(temporary)})
        found.append(device)
        assert "connected to" in adb("connect", device.serial)
        return device

    yield connect
    for device in found:
        device.close()
        adb("disconnect", device.serial)
