"""A board over ssh: the real client and a real server on loopback. ONNX Runtime judges."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import edgesparse
from edgesparse.devices.remote import Remote
from edgesparse.errors import MeasureError
from tests.devices.boards import expect_right, feeds, processes
from tests.devices.conftest import free_port


def test_a_real_server_and_an_emulated_board(ssh, model, tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("QEMU's user emulation is not installed")
    made = edgesparse.compile(model, "rpi3,rpi4", tmp_path / "boards.esp").artifact
    given = feeds(made)

    outputs = edgesparse.run(made, given, on="board")
    measured = edgesparse.bench(made, inputs=given, on="board", seconds=0.0)

    expect_right(outputs, model, given)
    assert measured.contenders[0].latency.runs > 0
    verified = edgesparse.verify(made, model, on="board", layers=False)
    assert verified.agrees and "4 x Cortex-A72" in verified.plans[0].where
    with Remote("board").open(made) as session:
        assert session.manifest["plans"][session.plan]["target"] == "rpi4"
    assert str(measured).startswith("note: on board: Raspberry Pi 4 Model B Rev 1.4, 4 x Cortex-A72, 600 to 1800 MHz")


@contextmanager
def changed(folder: Path, files: dict[str, str]) -> Iterator[None]:
    """Other contents of files of the server or the client, for a while."""
    kept = {name: (folder / name).read_text() for name in files}
    try:
        for name, text in files.items():
            (folder / name).write_text(text)
        yield
    finally:
        for name, text in kept.items():
            (folder / name).write_text(text)


def refused(artifact: Path, on: str = "board") -> str:
    with pytest.raises(MeasureError) as err:
        edgesparse.run(artifact, on=on)
    assert "\n" not in str(err.value)
    return str(err.value)


def test_a_host_that_is_not_known_is_told_in_the_words_of_ssh(ssh, artifact):
    with changed(ssh, {"known": ""}):
        assert re.fullmatch(r"board: No \w+ host key is known for .* Host key verification failed\.", refused(artifact))


def test_a_host_key_that_has_changed_is_told_in_the_words_of_ssh(ssh, artifact):
    address = (ssh / "known").read_text().split()[0]
    other = f"{address} {(ssh / 'user.pub').read_text()}"

    with changed(ssh, {"known": other}):
        assert re.fullmatch(r"board: .*has changed and .* Host key verification failed\.", refused(artifact))


def test_a_wrong_key_is_told_in_the_words_of_ssh(ssh, artifact):
    with changed(ssh, {"authorized": ""}):
        assert re.fullmatch(r"board: .*Permission denied \(publickey.*\)\.", refused(artifact))


def test_a_host_that_is_not_there_is_told_in_the_words_of_ssh(ssh, artifact):
    config = (ssh / "config").read_text()

    assert "nobody.invalid: ssh: Could not resolve hostname nobody.invalid" in refused(artifact, "nobody.invalid")
    with changed(ssh, {"config": re.sub("Port .*", f"Port {free_port()}", config)}):
        assert re.fullmatch("board: ssh: connect to host .* Connection refused", refused(artifact))


@pytest.fixture(scope="module")
def compiled(model, tmp_path_factory) -> Path:
    """An artifact for the board."""
    path = tmp_path_factory.mktemp("ssh") / "board.esp"
    return edgesparse.compile(model, "rpi4", path, witness=False).artifact


def test_an_artifact_for_another_target_is_refused(ssh, model, tmp_path):
    for target, why in (("rpi5", "needs dot products and half precision, which board"), ("x86-64-v3", "is for x86_64")):
        made = edgesparse.compile(model, target, tmp_path / "other.esp", witness=False).artifact
        assert why in refused(made) and "compile for rpi4 or " in refused(made)


def test_a_device_without_space_is_one_line(ssh, compiled):
    """A limit on the size of files stands in for the disk."""
    shutil.rmtree(ssh / "cache", ignore_errors=True)

    with changed(ssh, {"board.sh": (ssh / "board.sh").read_text() + "\nulimit -f 8\n"}):
        assert re.fullmatch("board: cannot write .*; free some space there", refused(compiled))


def connections(folder: Path) -> list[int]:
    """Processes of the server that talk to a client."""
    server = (folder / "pid").read_text().strip()
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", server], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def test_a_connection_that_is_lost_in_a_run_leaves_nothing_behind(ssh, compiled):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("QEMU's user emulation is not installed")
    given = feeds(compiled)

    with pytest.raises(MeasureError, match="^board: ") as err, Remote("board").open(compiled) as session:
        session.run(given)
        timer = threading.Timer(0.2, lambda: [os.kill(pid, signal.SIGKILL) for pid in connections(ssh)])
        timer.start()
        while True:
            session.time(given, 50)

    assert "\n" not in str(err.value)
    end = time.monotonic() + 30
    while processes(ssh / "cache") and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes(ssh / "cache")
