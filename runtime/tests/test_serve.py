"""esrun --serve answers every line, whatever it says, and computes what numpy computes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edgesparse.package.writer import write
from runtime import build
from runtime.tests import samples, trees
from runtime.tests.conftest import PATIENCE_S, launcher


class Server:
    """A running `esrun --serve`."""

    def __init__(self, *command: object) -> None:
        words = [str(part) for part in command]
        self.process = subprocess.Popen([*words, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.hello = self.answer()

    def answer(self) -> dict:
        return json.loads(self.process.stdout.readline().decode(errors="replace"))

    def ask(self, line: object, tensors: bytes = b"") -> dict:
        text = line if isinstance(line, bytes) else json.dumps(line).encode()
        self.process.stdin.write(text + b"\n" + tensors)
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> int:
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def esrun() -> Path:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed, so nothing can be built with sanitizers")
    return build.sanitized_esrun()


@pytest.fixture
def server(esrun):
    served = Server(esrun)
    yield served
    assert served.end() == 0


@pytest.fixture
def sample(host, tmp_path):
    made = samples.sparse_model(host)
    write([made.program], {}, tmp_path / "model's \\ größe.esp")
    return tmp_path / "model's \\ größe.esp", made


def test_measurement_tells_its_share_and_then_the_profile(server, sample, tmp_path):
    path, made = sample
    x = made.inputs["x"].tobytes()
    opened(server, path)
    sizes = server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]
    server.process.stdout.read(sum(sizes))

    told = server.ask({"do": "measure", "milliseconds": 300, "every_us": 10000, "root": str(tmp_path)})
    assert 0 <= told.pop("share") < 1 and not told
    while "share" in (told := server.answer()):
        pass

    assert 20 <= told["runs"] <= 31 and told["missed"] >= 0 and told["first_ns"] > 0 and told["opened_ns"] > 0
    assert told["p10_ns"][0] <= told["median_ns"][0] <= told["worst_ns"] and told["gross_j"] == [None] * 3
    assert sum(runs for _, _, runs in told["bars"]) == told["runs"] and len(told["slots"]) == 60
    assert server.ask({"do": "measure", "milliseconds": 0})["error"].startswith("seconds: got 0")
    assert "meter pmic" in server.ask({"do": "measure", "meter": "pmic", "root": str(tmp_path)})["error"]


JUNK = [
    b"",
    bytes(200),
    b"-",
    b"9" * 400,
    b"\xff\xfe",
    b"nan\n",
    b"1" * 29,
    b"NVIDIA Jetson",
    b"ina3221",
    b'"\\"',
    b"a" * 5000,
]


def test_boards_that_are_made_to_hurt_are_answered_in_json(server, sample, tmp_path):
    path, made = sample
    x = made.inputs["x"].tobytes()
    opened(server, path)
    server.process.stdout.read(sum(server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]))
    board = trees.INA226 | trees.JETSON_ORIN | trees.JETSON_NANO | trees.BATTERY | trees.rapl() | trees.STATE
    meters = ["auto", "hwmon", "rapl", "battery", "jetson", "hwmon:ina226", "hwmon:\u00fc" + "x" * 300]
    for seed in range(60):
        random.seed(seed)
        files = dict(random.sample(sorted(board.items()), random.randint(1, len(board))))
        root = trees.made(tmp_path / str(seed), files)
        for name in random.sample(sorted(files), min(6, len(files))):
            (root / name).write_bytes(random.choice([*JUNK, random.randbytes(300)]))

        told = server.ask({"do": "measure", "milliseconds": 10, "meter": meters[seed % 7], "root": str(root)})
        while "share" in told:
            told = server.answer()

        assert "error" in told or told["gross_j"] == [None] * 3
        assert "\ufffd" not in json.dumps(told, ensure_ascii=False)


def opened(server: Server, path: Path, **more: object) -> dict:
    return server.ask({"do": "open", "artifact": str(path), "threads": 2, **more})


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_outputs_match_numpy_on_every_platform(platform, tmp_path):
    made = samples.sparse_model(platform)
    write([made.program], {}, tmp_path / "model.esp")
    server = Server(*launcher(platform), build.esrun(platform))

    told = opened(server, tmp_path / "model.esp")
    x = made.inputs["x"].tobytes()
    for _ in range(2):
        sizes = server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]
        for output, size in zip(told["outputs"], sizes, strict=True):
            array = np.frombuffer(server.process.stdout.read(size), output["dtype"]).reshape(output["shape"])
            np.testing.assert_allclose(array, made.outputs[output["name"]], rtol=1e-5, atol=1e-5)
    assert server.end() == 0


def test_an_artifact_is_described_timed_and_closed_for_another(server, sample):
    path, made = sample
    for _ in range(2):
        told = opened(server, path)
        assert [(each["name"], each["shape"]) for each in told["inputs"]] == [("x", [24, 33])]
        x = made.inputs["x"].tobytes()
        server.process.stdout.read(sum(server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]))

        profile = server.ask({"do": "profile", "repeat": 3})
        assert len(server.ask({"do": "time", "repeat": 7})["ns"]) == 7
        assert [step["name"] for step in profile["steps"]] == ["conv1", "gather/größe", "sum"]
        assert np.shape(profile["ns"]) == (3, 3)
        assert server.ask({"do": "meters"})["peak_bytes"] > 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "is not a JSON object"),
        (b"[]", "is not a JSON object"),
        (b"{", "is not a JSON object"),
        (b'{"do": "run"', "is not a JSON object"),
        (b'{"do": "x"} y', "is not a JSON object"),
        (b'{"do": 1.5}', "is not a JSON object"),
        (b'{"do": "\\u0000"}', "is not a JSON object"),
        (b'{"do": "\\ud800"}', "is not a JSON object"),
        (b'{"do": "\\q"}', "is not a JSON object"),
        (b'{"a": [1, ]}', "is not a JSON object"),
        (b'{"a": 18446744073709551616}', "is not a JSON object"),
        (b'{"a": ' + b"[" * 1000, "is not a JSON object"),
        (b"{" + b", ".join(b'"%d": 1' % n for n in range(17)) + b"}", "has too many fields"),
        (b'{"a": [' + b"0, " * 9000 + b"0]}", "is not a JSON object"),
        (b"{}", 'says with "do"'),
        (b'{"do": [1]}', 'says with "do"'),
        (b'{"do": "dance"}', "expected open, run, time, profile, measure, meters, bandwidth or quit"),
        (b'{"do": "open"}', "names no artifact"),
        (b'{"do": "open", "artifact": "/nonexistent"}', "no such file"),
        (b'{"do": "run"}', "not those of the inputs"),
        (b'{"do": "time"}', "run once first"),
        (b'{"do": "profile", "repeat": 0}', "run once first"),
    ],
)
def test_a_wrong_request_is_answered_and_the_next_is_heard(server, line, words):
    assert words in server.ask(line)["error"]
    assert "peak_bytes" in server.ask({"do": "meters"})


def test_memory_is_read_by_threads_on_the_cores_that_are_named(server, tmp_path):
    core = min(os.sched_getaffinity(0))
    small = {"do": "bandwidth", "bytes": 1 << 20, "milliseconds": 0}

    for more in ({}, {"threads": 3}, {"threads": 2, "cores": [core]}, {"cores": []}, {"lock": str(tmp_path / "lock")}):
        assert server.ask(small | more)["bytes_per_s"] > 0
    assert "core 1000 cannot be used" in server.ask(small | {"threads": 2, "cores": [core, 1000]})["error"]
    for wrong in ({"bytes": 0}, {"bytes": 2**64 - 1}, {"threads": 0}, {"threads": 65}, {"milliseconds": 10001}):
        assert "expected 1 MiB to 1 GiB" in server.ask(small | wrong)["error"]


def test_memory_is_not_read_while_somebody_else_measures(esrun, server, tmp_path):
    wanted = {"do": "bandwidth", "bytes": 1 << 20, "milliseconds": 0, "lock": str(tmp_path / "lock")}
    other, same = Server(esrun), Server(esrun)

    assert other.ask(wanted | {"owner": "a"})["bytes_per_s"] > 0
    assert "somebody else measures" in server.ask(wanted | {"owner": "b"})["error"]
    assert same.ask(wanted | {"owner": "a"})["bytes_per_s"] > 0
    assert other.end() == same.end() == 0


def test_a_lock_that_cannot_be_made_is_told(server, tmp_path):
    assert "the lock cannot be made" in server.ask({"do": "bandwidth", "lock": str(tmp_path)})["error"]
    assert server.ask({"do": "bandwidth", "bytes": 1 << 20, "milliseconds": 0})["bytes_per_s"] > 0


def test_requests_that_do_not_fit_what_is_open(server, sample):
    path, made = sample
    x = made.inputs["x"].tobytes()

    assert "threads" in opened(server, path, threads=65)["error"]
    assert "not those" in server.ask({"do": "run", "bytes": [len(x)]}, x)["error"]  # nothing is open
    opened(server, path)
    for sizes in ([], [len(x) - 1], [len(x), 1], [0] * 3):
        assert "not those" in server.ask({"do": "run", "bytes": sizes}, bytes(sum(sizes)))["error"]
    assert "run once first" in server.ask({"do": "time"})["error"]
    server.process.stdout.read(sum(server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]))
    for repeat in (0, 100_001, 2**64 - 1):
        assert "expected 1 to 100000" in server.ask({"do": "time", "repeat": repeat})["error"]
    assert "cannot be made" in opened(server, path, lock="/nonexistent/lock")["error"]


def places(server: Server, threads: int) -> list[set[int]]:
    """Where each of the threads of a server may run, once those of its last session are gone."""
    deadline = time.monotonic() + PATIENCE_S
    while len(tasks := os.listdir(f"/proc/{server.process.pid}/task")) != threads and time.monotonic() < deadline:
        time.sleep(0.001)
    return [os.sched_getaffinity(int(task)) for task in tasks]


def test_all_threads_run_on_the_cores_of_the_request(server, sample):
    path, _ = sample
    home = os.sched_getaffinity(0)

    for cores in ([min(home)], [max(home)], sorted(home)):
        assert "error" not in opened(server, path, cores=cores)
        assert places(server, 2) == [set(cores)] * 2
    opened(server, path, cores=[min(home)])
    assert "error" not in opened(server, path)
    assert places(server, 2) == [home] * 2


@pytest.mark.parametrize(
    ("cores", "words"),
    [
        ([1023], "core 1023 is not there, or this process may not use it"),
        ([2**64 - 1], "core 4294967295, expected 0 to 1023"),
        ([0, 0], "core 0 is named twice"),
        ([], "cores: expected a list of 1 to 1024 numbers"),
        (list(range(1025)), "cores: expected a list of 1 to 1024 numbers"),
        (0, "cores: expected a list of 1 to 1024 numbers"),
        ("0", "cores: expected a list of 1 to 1024 numbers"),
    ],
)
def test_cores_that_are_none_are_refused(server, sample, cores, words):
    path, _ = sample

    assert words in opened(server, path, cores=cores)["error"]
    assert "error" not in opened(server, path)


def test_one_owner_measures_at_a_time(esrun, sample, tmp_path):
    path, made = sample
    x = made.inputs["x"].tobytes()
    servers = [Server(esrun) for _ in range(3)]
    for server, owner in zip(servers, ("one", "two", "one"), strict=True):
        opened(server, path, lock=str(tmp_path / "lock"), owner=owner)
        server.process.stdout.read(sum(server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]))

    assert "ns" in servers[0].ask({"do": "time", "repeat": 1})
    assert "somebody else measures" in servers[1].ask({"do": "time", "repeat": 1})["error"]
    assert "ns" in servers[2].ask({"do": "time", "repeat": 1})
    servers[0].end()
    servers[2].end()
    assert "ns" in servers[1].ask({"do": "time", "repeat": 1})
    servers[1].end()


def test_it_ends_when_nobody_is_left_to_answer(esrun, host, tmp_path):
    made = samples.slow_model(host)
    write([made.program], {}, tmp_path / "model.esp")
    server = Server(esrun)
    opened(server, tmp_path / "model.esp")
    x = made.inputs["x"].tobytes()
    server.process.stdout.read(sum(server.ask({"do": "run", "bytes": [len(x)]}, x)["bytes"]))
    server.process.stdin.write(b'{"do": "time", "repeat": 100000}\n')
    server.process.stdin.flush()

    assert server.end() in (1, -13)


def test_random_lines_neither_crash_nor_hang_it(server, sample):
    """Requests with bytes changed, cut and put in between; each line is answered by one."""
    path, _ = sample
    rng = random.Random(0)
    seeds = [
        json.dumps({"do": "open", "artifact": str(path), "threads": 1, "cores": [0]}, ensure_ascii=False).encode(),
        b'{"do": "run", "bytes": []}',
        b'{"do": "time", "repeat": 3, "x": "\\u0041\\n", "y": [1, 2, 3]}',
        b'{"do": "meters"}',
    ]
    answered = 0
    for _ in range(3000):
        line = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(0, 4)):
            at = rng.randrange(len(line) + 1)
            parts = [b"", bytes([rng.randrange(1, 256)]), b'"', b"\\u", b"[", b"9"]
            line[at : at + rng.randint(0, 2)] = rng.choice(parts)
        text = bytes(line).replace(b"\n", b" ")
        if b"quit" in text or (b'"bytes": [' in text and b'"bytes": []' not in text):
            continue  # would end it, or take the next line for a tensor
        assert isinstance(server.ask(text), dict)
        answered += 1
    assert answered > 2500
