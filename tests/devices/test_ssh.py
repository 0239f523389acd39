"""A board over ssh: the real client and a real server on loopback. ONNX Runtime judges."""

from __future__ import annotations

import shutil

import pytest

import edgesparse
from edgesparse.devices.remote import Remote
from edgesparse.errors import MeasureError
from tests.devices.boards import expect_right, feeds


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"known": "[127.0.0.1]:1 ssh-ed25519 AAAA\n"}, "Host key verification failed"),
        ({"authorized": ""}, "Permission denied"),
    ],
)
def test_what_ssh_refuses_is_told_in_its_words(ssh, artifact, change, words):
    kept = {name: (ssh / name).read_text() for name in change}
    try:
        for name, text in change.items():
            (ssh / name).write_text(text)
        with pytest.raises(MeasureError, match=words) as err:
            edgesparse.run(artifact, on="board")
    finally:
        for name, text in kept.items():
            (ssh / name).write_text(text)

    assert "\n" not in str(err.value)
