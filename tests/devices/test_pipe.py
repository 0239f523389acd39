"""The one line about a lost connection says why, where ssh or adb said it; what is said here is theirs."""

from __future__ import annotations

import pytest

from edgesparse.devices.pipe import MOST_WORDS, Pipe, last_words
from edgesparse.devices.shell import Shell
from edgesparse.errors import MeasureError

RESET = "Read from remote host board: Connection reset by peer"
SAID = {
    f"Authorized users only!\n{RESET}\r\nclient_loop: send disconnect: Broken pipe\r\n": f"{RESET}; client_loop: send",
    "ssh: Could not resolve hostname jump: Name or service not known\nConnection closed by UNKNOWN port 65535": (
        "resolve hostname jump: Name or service not known; Connection closed by UNKNOWN port 65535"
    ),
    "kex_exchange_identification: read: Connection reset by peer\nConnection reset by 10.0.0.2 port 22": "read: Conn",
    "Timeout, server board not responding.": "board: Timeout, server board not responding.",
    "Welcome\nConnection closed by 10.0.0.2 port 22": "board: Connection closed by 10.0.0.2 port 22",
    "Host key for board has changed and you have requested strict checking.\nHost key verification failed.": (
        "board: Host key for board has changed and you have requested strict checking. Host key verification failed."
    ),
    "* daemon not running; starting now at tcp:5037\n* daemon started successfully\nerror: device offline": (
        "board: device offline"
    ),
    "board: Permission denied (publickey).": "board: Permission denied (publickey).",
    "\x1b[31mred\x07": "board: ?[31mred?",
}


@pytest.mark.parametrize("said", SAID)
def test_a_lost_connection_says_why(said):
    with (
        Pipe(["sh", "-c", 'printf %s "$1" >&2; exit 255', "sh", said], "board") as pipe,
        pytest.raises(MeasureError) as failure,
    ):
        pipe.line()

    assert SAID[said] in str(failure.value)
    assert str(failure.value).startswith("board: ") and not str(failure.value).startswith("board: board: ")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "board: the connection is closed"),
        ("exit 3", "board: the connection is closed (sh: status 3)"),
        ("kill -9 $$", "board: the connection is closed (sh: killed by signal 9)"),
        ("echo '* daemon started successfully' >&2", "board: the connection is closed"),
    ],
)
def test_an_end_without_words_says_how_it_ended(script, words):
    with Pipe(["sh", "-c", script], "board") as pipe, pytest.raises(MeasureError) as failure:
        pipe.line()

    assert str(failure.value) == words


def test_what_a_login_printed_before_it_ended_is_told():
    closed = "before that it said 'This account is currently not available.'"
    command = ["sh", "-c", "echo This account is currently not available.; exit 1"]

    with Pipe(command, "board") as pipe, pytest.raises(MeasureError, match=closed):
        Shell(pipe).run("true")


def test_silence_says_what_was_said_before_it():
    silence = "nothing came for 1 s; it said '- waiting for device -'; is the device still there"
    command = ["sh", "-c", "echo '- waiting for device -' >&2; exec cat"]

    with Pipe(command, "board", patience_s=0.6) as pipe, pytest.raises(MeasureError, match=silence):
        pipe.line()


def test_words_without_end_are_cut():
    assert len(last_words(b"refused " * 10_000)) <= MOST_WORDS
