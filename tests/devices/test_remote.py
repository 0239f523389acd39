"""Boards over ssh, with a shell in its place. ONNX Runtime judges."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import edgesparse
from edgesparse.devices import remote
from edgesparse.devices.remote import Remote
from edgesparse.errors import EdgesparseError, MeasureError
from runtime import build
from tests.devices.boards import BOARD, expect_right, feeds, processes


def test_an_artifact_runs_there_and_is_copied_once(folder, artifact, model):
    told = []
    given, board = feeds(artifact), Remote(BOARD, lambda what, share: told.append(what))

    for _ in range(2):
        with board.open(artifact) as session:
            expect_right(session.run(given), model, given)
            assert [tensor.name for tensor in session.outputs] == ["scores"]
            assert len(session.time(given, 3)) == 3 and len(session.step_times(given, repeat=2)[0].times_us) == 2
            assert session.meters(given)["peak_bytes"] > 0
            assert session.top(session.run(given), 2)[0][0] in "abcde"

    assert told == [f"copying the runtime to {BOARD}", f"copying my model's.esp to {BOARD}"]
    assert len(list(folder.iterdir())) == 3  # and the lock
    board.clean()
    assert not folder.exists()


def test_a_profile_is_of_the_board(folder, artifact):
    report = edgesparse.profile(artifact, seconds=0.3, on=BOARD)

    (told,) = report.profiles.values()
    assert told.where.startswith(f"on {BOARD}: ") and told.runs > 3 and told.memory.peak.value > 0 and told.steps
    assert abs(told.energy.windows[0].begin_unix_ns / 1e9 - time.time()) < 120
    with pytest.raises(MeasureError, match=f"^{BOARD}: meter pmic: there is none here"):
        edgesparse.profile(artifact, seconds=0.3, on=BOARD, meter="pmic")


@pytest.mark.parametrize("greeting", ["echo Welcome", "printf 'no newline'", "printf '\\000\\377\\n'; echo begin"])
def test_what_a_login_prints_is_skipped(place, artifact, greeting):
    place(f"{greeting}; exec sh")

    assert edgesparse.run(artifact, on=BOARD)["scores"].shape == (1, 5)


def name_of(artifact: Path) -> str:
    """What it is called there."""
    return f"{hashlib.sha256(artifact.read_bytes()).hexdigest()[:16]}.esp"


def test_a_copy_that_broke_off_is_gone_on_with(folder, artifact):
    shares: list[float] = []
    name, content = name_of(artifact), artifact.read_bytes()
    folder.mkdir(parents=True)
    (folder / f"{name}.part").write_bytes(content[: len(content) // 2])

    with Remote(BOARD, lambda what, share: shares.append(share)).open(artifact):
        pass

    assert shares[-1] == pytest.approx(0.5, abs=0.01) and (folder / name).read_bytes() == content


def test_a_copy_that_is_damaged_is_thrown_away(folder, artifact):
    part = folder / f"{name_of(artifact)}.part"
    folder.mkdir(parents=True)
    part.write_bytes(bytes(1000))

    with pytest.raises(MeasureError, match="arrived damaged; try again"):
        edgesparse.run(artifact, on=BOARD)

    assert not part.exists()
    assert edgesparse.run(artifact, on=BOARD)["scores"].shape == (1, 5)


def test_a_full_disk_is_one_line_and_what_was_not_written_is_not_obeyed(place, artifact, tmp_path):
    """A limit on the size of files stands in for the disk."""
    place("ulimit -f 8; exec sh")
    trap = tmp_path / "trap.esp"
    trap.write_bytes(artifact.read_bytes() + f"\ntouch {tmp_path}/obeyed\n".encode() * 9)

    for file in (artifact, trap):
        with pytest.raises(EdgesparseError) as err:
            edgesparse.run(file, on=BOARD)
        assert "\n" not in str(err.value)
    with pytest.raises(MeasureError, match="cannot write .*free some space there"):
        edgesparse.run(artifact, on=BOARD)
    assert not (tmp_path / "obeyed").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", "the connection is closed"),
        ("echo 'ssh: Could not resolve hostname board' >&2; exit 255", "board: ssh: Could not resolve hostname board"),
        ("exec bash -c 'uname() { echo sparc; }; export -f uname; exec bash'", "is a sparc, expected one of"),
        ("echo 'Permission denied (publickey).' >&2; exit 255", "Permission denied"),
    ],
)
def test_a_board_that_is_not_there_is_one_line(place, artifact, script, words):
    place(script)

    with pytest.raises(MeasureError, match=words) as err:
        edgesparse.run(artifact, on=BOARD)

    assert str(err.value).startswith(BOARD) and "\n" not in str(err.value)


def test_a_kernel_of_64_bits_may_have_a_system_of_32_around_it(place, model, tmp_path):
    if shutil.which("qemu-arm") is None:
        pytest.skip("QEMU's user emulation is not installed")
    script = (
        'uname() { echo aarch64; }; exec() { command exec qemu-arm "$@"; }; export -f uname exec; command exec bash'
    )
    place(f"exec bash -c {shlex.quote(script)}")
    made = edgesparse.compile(model, "rpi4-32bit", tmp_path / "small.esp").artifact
    given = feeds(made)

    expect_right(edgesparse.run(made, given, on=BOARD), model, given)


@pytest.mark.parametrize("on", ["", "-oProxyCommand=touch x", "pi board", "\n"])
def test_a_name_that_is_none_is_refused(artifact, on):
    with pytest.raises(MeasureError, match="expected a name for ssh, such as pi@board, or adb:SERIAL"):
        edgesparse.run(artifact, on=on)


def test_ssh_that_is_not_installed_is_one_line(artifact, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MeasureError, match="ssh: cannot be started: No such file"):
        edgesparse.run(artifact, on=BOARD)


def test_a_device_is_not_cleaned_while_somebody_measures(folder, artifact):
    (folder.parent / "costs").mkdir(parents=True)  # of the user who works there
    with Remote(BOARD).open(artifact) as session:
        session.time(feeds(artifact), 1)
        with pytest.raises(MeasureError, match="is not cleaned, somebody measures there"):
            Remote(BOARD).clean()
    Remote(BOARD).clean()

    assert not folder.exists() and (folder.parent / "costs").exists()


def test_only_one_measures_at_a_time(folder, artifact, tmp_path):
    given = feeds(artifact)
    code = f"import edgesparse; edgesparse.bench({str(artifact)!r}, on={BOARD!r}, seconds=0)"
    with Remote(BOARD).open(artifact) as first, Remote(BOARD).open(artifact) as second:
        first.time(given, 1)
        second.time(given, 1)  # of the same process: they take turns
        other = subprocess.run([build.sys.executable, "-c", code], capture_output=True, text=True)
    after = subprocess.run([build.sys.executable, "-c", code], capture_output=True, text=True)

    assert "somebody else measures on this device; wait until they are done" in other.stderr
    assert after.returncode == 0, after.stderr


def test_inputs_that_the_model_refuses_leave_the_session_usable(folder, artifact, model):
    given = feeds(artifact)
    with Remote(BOARD).open(artifact) as session:
        with pytest.raises(MeasureError, match="are not those of the inputs"):
            session._ask({"do": "run", "bytes": [3]}, [b"abc"])
        with pytest.raises(MeasureError, match="run once first"):
            session._ask({"do": "time", "repeat": 1})
        expect_right(session.run(given), model, given)


def test_a_budget_is_measured_there(folder, model, tmp_path):
    report = edgesparse.compile(model, "host", tmp_path / "m.esp", latency="5s", on=BOARD)

    assert report.pruning.search.origin == "measured"
    assert len([path for path in folder.iterdir() if path.suffix == ".esp"]) >= 1


def test_layers_are_measured_there(folder, model, command, monkeypatch):
    monkeypatch.setattr("edgesparse.pipeline.layer_times.SECONDS", 0.0)

    shown = command("explain", model, "--measured", "--on", BOARD, "--clean")

    assert shown.returncode == 0 and f"note: on {BOARD}: " in shown.stdout and "measured us" in shown.stdout
    assert not folder.exists()


def test_what_was_copied_is_removed_if_that_is_asked_for(command, folder, artifact):
    shown = command("run", artifact, "--on", BOARD)
    assert shown.returncode == 0 and f"note: on {BOARD}" in shown.stdout and list(folder.iterdir())

    cleaned = command("bench", artifact, "--on", BOARD, "--seconds", "0.1", "--clean")
    assert cleaned.returncode == 0 and not folder.exists()
    assert command("run", artifact, "--clean").returncode == 2


@pytest.mark.slow(part="soak")
def test_kernels_are_tuned_there(command, folder, tmp_path):
    done = command("tune", "--on", BOARD, "-o", "costs.toml", "--seconds", "0")

    assert done.returncode == 0, done.stderr
    assert f"measured on {BOARD}" in (tmp_path / "costs.toml").read_text()


def test_a_board_that_hangs_is_given_up(folder, artifact, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE_S", 1.0)
    given = feeds(artifact)

    with pytest.raises(MeasureError, match="nothing came for 1 s"), Remote(BOARD).open(artifact) as session:
        os.kill(session._pipe._process.pid, signal.SIGSTOP)
        session.run(given)

    assert not processes(folder)


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def break_off(artifact: Path, folder: Path, times: int, seed: int) -> set[str]:
    """Kill the other end at random moments; returns how it ended each time."""
    rng, ends = random.Random(seed), set()
    given = feeds(artifact)
    for _ in range(times):
        shutil.rmtree(folder, ignore_errors=True)
        pids: list[int] = []
        timer = threading.Timer(rng.uniform(0.0, 0.25), kill_all, [pids])
        original = subprocess.Popen.__init__

        def started(self, *args, pids=pids, original=original, **kwargs):
            original(self, *args, **kwargs)
            pids.append(self.pid)

        subprocess.Popen.__init__ = started
        try:
            timer.start()
            with Remote(BOARD).open(artifact) as session:
                for _ in range(40):
                    session.run(given)
                    session.time(given, 20)
            ends.add("done")
        except MeasureError as err:
            assert "\n" not in str(err)
            ends.add("broken")
        finally:
            subprocess.Popen.__init__ = original
            timer.cancel()
    time.sleep(0.1)
    assert not processes(folder)
    return ends


def test_connections_that_break_at_random_leave_no_process_behind(folder, artifact):
    assert "broken" in break_off(artifact, folder, 10, seed=1)


@pytest.mark.slow(part="soak")
def test_connections_that_break_a_hundred_times(folder, artifact):
    assert "broken" in break_off(artifact, folder, 100, seed=2)
