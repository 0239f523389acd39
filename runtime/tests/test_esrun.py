"""esrun computes what numpy computes, on every platform, and says plainly what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time

import edgesparse_runtime
import numpy as np
import pytest

from edgesparse.package.writer import write
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import PATIENCE_S, launcher, run_program


@pytest.fixture
def folder(host, tmp_path):
    """A directory with the sample artifact and its input."""
    sample = samples.sparse_model(host)
    write([sample.program], {}, tmp_path / "model.esp")
    np.save(tmp_path / "x.npy", sample.inputs["x"])
    return tmp_path


@pytest.fixture
def esrun(host, folder):
    """Runs esrun on the sample artifact."""
    return lambda *options: run_program(build.esrun(host), folder / "model.esp", *options)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_outputs_match_numpy(platform, threads, tmp_path):
    sample = samples.sparse_model(platform)
    write([sample.program], {}, tmp_path / "model.esp")
    np.save(tmp_path / "x.npy", sample.inputs["x"])
    program = [*launcher(platform), build.esrun(platform), tmp_path / "model.esp"]

    result = run_program(
        *program, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npz", "--threads", threads, "--repeat", 5
    )

    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "y.npz") as outputs:
        assert sorted(outputs) == sorted(sample.outputs)
        for name, expected in sample.outputs.items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


def test_outputs_go_where_they_are_named(esrun, folder, host):
    sample = samples.sparse_model(host)

    result = esrun(
        "--input", f"x={folder}/x.npy", "--output", f"{folder}/first.npy", "--output", f"s={folder}/named.npy"
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_allclose(np.load(folder / "first.npy"), sample.outputs["g"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.load(folder / "named.npy"), sample.outputs["s"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("model.esp", "model.esp: is read by this run; name another file to write"),
        ("./x.npy", "x.npy: is read by this run; name another file to write"),
        ("linked.npy", "linked.npy: is read by this run; name another file to write"),
        ("notes.npy", "notes.npy: holds something other than an .npy file; remove it, or name another file to write"),
        ("notes.npz", "notes.npz: holds something other than an .npz file; remove it, or name another file to write"),
        ("short.npy", "short.npy: holds something other than an .npy file"),
        ("empty.npy", None),
        ("old.npy", None),
    ],
)
def test_an_output_replaces_neither_an_input_nor_another_kind_of_file(esrun, folder, output, message):
    for name, text in (("notes.npy", "notes"), ("notes.npz", "notes"), ("short.npy", "n"), ("empty.npy", "")):
        (folder / name).write_text(text)
    (folder / "linked.npy").hardlink_to(folder / "x.npy")
    np.save(folder / "old.npy", np.zeros(3))
    before = (folder / output).read_bytes()

    result = esrun("--input", f"x={folder}/x.npy", "--output", f"{folder}/{output}")

    assert (result.returncode, (folder / output).read_bytes() == before) == (
        (0, False) if message is None else (1, True)
    )
    assert message is None or (message in result.stderr and result.stderr.count("\n") == 1)


def test_version_is_that_of_the_package(host):
    assert run_program(build.esrun(host), "--version").stdout == f"esrun {edgesparse_runtime.__version__}\n"


def test_model_alone_prints_its_signature(esrun):
    result = esrun("--check")

    assert result.returncode == 0
    assert "all checksums match" in result.stdout
    assert "input   x  float32 (24, 33)\noutput  g  float32 (16, 33)\noutput  s  float32 (16,)\n" in result.stdout


def test_profile_has_a_row_for_each_step(esrun, folder):
    result = esrun(
        "--input", folder / "x.npy", "--profile", "--seconds", "0.2s", "--battery", "18.5Wh", "--rate", "100/s"
    )

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["cold start", "latency", "over time", "deadlines"]
    assert "missed at 100 runs a second" in lines[3] and re.search(r"memory: peak \d+ KiB", lines[4])
    assert [line.split()[-1] for line in lines[-4:-1]] == ["conv1", "gather/größe", "sum"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seconds", "0", "--seconds: got '0', expected a number above 0 and up to 1e+06, such as 10s"),
        ("--rate", "fast", "--rate: got 'fast', expected a number above 0 and up to 1e+06, such as 10/s"),
        ("--battery", "1kWh", "--battery: got '1kWh'"),
        ("--meter", "volt", "profile: meter: got 'volt', expected auto, none"),
    ],
)
def test_wrong_options_of_a_profile_are_told(option, value, words, esrun, folder):
    result = esrun("--input", folder / "x.npy", "--profile", option, value)

    assert result.returncode in (1, 2) and words in result.stderr


def test_tune_prints_the_time_of_each_step_as_json(esrun):
    steps = json.loads(esrun("--tune", "--repeat", 3).stdout)["steps"]

    assert [step["name"] for step in steps] == ["conv1", "gather/größe", "sum"]
    assert all(step["p10_us"] >= 0 for step in steps)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_npy_version_is_read(esrun, folder, host, version):
    sample = samples.sparse_model(host)
    with open(folder / "x.npy", "wb") as file:
        np.lib.format.write_array(file, sample.inputs["x"], version=version)

    result = esrun("--input", folder / "x.npy", "--output", folder / "g.npy")

    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(np.load(folder / "g.npy"), sample.outputs["g"], rtol=1e-5, atol=1e-5)


X = np.zeros((samples.K, samples.N), np.float32)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X.astype(np.float64), "got element type <f8, expected <f4 (float32); convert with array.astype('float32')"),
        (X.astype(">f4"), "got element type >f4, expected <f4"),
        (X[:, :-1], "got shape (24, 32), expected (24, 33)"),
        (X.ravel(), "got shape (792,), expected (24, 33)"),
        (np.asfortranarray(X), "got Fortran order, expected C order; save numpy.ascontiguousarray(array)"),
        (np.zeros(3, [("a", "f4")]), "holds records, expected plain numbers"),
        (X.reshape([1] * 7 + [24, 33]), "has more than 8 dimensions"),
    ],
)
def test_misfitting_input_is_refused(esrun, folder, array, message):
    np.save(folder / "x.npy", array)

    result = esrun("--input", folder / "x.npy")

    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("size", [0, 5, 9, 60, 130, 3000])
def test_damaged_npy_is_refused(esrun, folder, size):
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:size])

    result = esrun("--input", folder / "x.npy")

    assert result.returncode == 1
    assert "not a .npy file" in result.stderr or "shorter than its header says" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--input", "z=x.npy"], 1, "the model has no such tensor"),
        (["--input", "absent.npy"], 1, "absent.npy: cannot be opened: No such file"),
        (["--input", "x.npy", "--output", "/nonexistent/y.npy"], 1, "/nonexistent/y.npy: cannot be written"),
        (["--input", "x.npy", "--output", "/dev/full"], 1, "/dev/full: cannot be written: No space left"),
        (["--threads", "0"], 2, "--threads: got '0', expected a number from 1 to 64"),
        (["--threads", "many"], 2, "--threads: got 'many'"),
        (["--threads", "4x"], 2, "--threads: got '4x'"),
        (["--cores", "0,1023"], 1, "core 1023 is not there, or this process may not use it (ES_ERR_ARGUMENT)"),
        (["--cores", "0,0"], 1, "core 0 is named twice"),
        *[
            (["--cores", text], 2, f"--cores: got '{text}', expected numbers below 1024, such as 4-7 or 0,2,3")
            for text in ("", "big", "1024", "4-", "-4", "7-4", "0,", ",0", "0;1", "0-1023,5", "0 1", "9" * 30)
        ],
        (["--spin-us", "1000001"], 2, "--spin-us: got '1000001', expected a number from 0 to 1000000"),
        (["--priority", "-1"], 2, "--priority: got '-1', expected a number from 0 to 19"),
        (["--priority", "20"], 2, "--priority: got '20', expected a number from 0 to 19"),
        (["--repeat"], 2, "--repeat: "),
        (["--fast"], 2, "unknown option '--fast'"),
        (["other.esp"], 2, "got 'other.esp' besides the model"),
    ],
)
def test_bad_usage_is_one_line(esrun, folder, options, status, message):
    options = [option.replace("x.npy", f"{folder}/x.npy") for option in options]

    result = esrun(*options)

    assert (result.returncode, result.stderr.count("\n")) == (status, 1)
    assert message in result.stderr


def test_all_threads_run_on_the_cores_that_are_named(host, folder):
    core, nice = max(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0)
    options = ["--input", folder / "x.npy", "--threads", 3, "--repeat", 1_000_000]
    options += ["--cores", core, "--spin-us", 0, "--priority", 5]
    command = [str(part) for part in (build.esrun(host), folder / "model.esp", *options)]
    deadline = time.monotonic() + PATIENCE_S

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        threads: list[int] = []
        while len(threads) < 3 and time.monotonic() < deadline:
            threads = [int(task) for task in os.listdir(f"/proc/{process.pid}/task")]
        places = [os.sched_getaffinity(thread) for thread in threads]
        priorities = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
        process.kill()

    assert (places, priorities) == ([{core}] * 3, [nice + 5] * 3)


def test_memory_is_weights_arena_and_scratch(host, tmp_path):
    """The peak is below weights + arena + 1 MiB; esrun's own copies of input and output come on top."""
    sample = samples.counting_model(host, tiles=2_000_000, step_count=3)
    program = dataclasses.replace(sample.program, weights=bytes(range(256)) * 32768)
    write([program], {}, tmp_path / "model.esp")
    np.save(tmp_path / "counts.npy", sample.inputs["counts"])
    options = ["--input", tmp_path / "counts.npy", "--repeat", 2, "--threads", 4, "--check"]  # reads all weights

    result = run_program(build.esrun(host), tmp_path / "model.esp", *options)

    peak_bytes = 1024 * int(result.stdout.split("peak ")[1].split()[0])
    buffers_bytes = 2 * sample.inputs["counts"].nbytes
    assert peak_bytes <= len(program.weights) + program.engines[0].arena_bytes + buffers_bytes + 2**20
    assert peak_bytes >= len(program.weights)


def test_runs_from_a_file_system_without_execution(host, folder):
    """Where the file cannot be mapped executable, the code runs from a copy."""
    command = f"mount -t tmpfs -o noexec tmpfs {folder}/mounted && cp {folder}/model.esp {folder}/mounted/ && "
    command += f"exec {build.esrun(host)} {folder}/mounted/model.esp --input {folder}/x.npy --output {folder}/g.npy"
    (folder / "mounted").mkdir()
    unshared = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if shutil.which("unshare") is None or run_program(*unshared, command.split("&&")[0]).returncode != 0:
        pytest.skip("this machine does not let a test mount a file system")

    result = run_program(*unshared, command)

    assert result.returncode == 0, result.stderr
    expected = samples.sparse_model(host).outputs["g"]
    np.testing.assert_allclose(np.load(folder / "g.npy"), expected, rtol=1e-5, atol=1e-5)
