"""The Python binding: correct results, plain errors."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import edgesparse_runtime
import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.package.writer import serialize, write
from runtime.tests import samples


@pytest.fixture(scope="module")
def sample(host):
    return samples.sparse_model(host)


@pytest.fixture
def model(sample):
    with Model(serialize([sample.program], {"name": "sample", "größe": 1}), threads=2) as opened:
        yield opened


def assert_matches(outputs, sample):
    assert list(outputs) == list(sample.outputs)
    for name, expected in sample.outputs.items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["path", "string", "bytes"])
def test_opens_paths_and_bytes(sample, tmp_path, source):
    path = tmp_path / "größe.esp"
    write([sample.program], {}, path)

    with Model({"path": path, "string": str(path), "bytes": path.read_bytes()}[source], verify_weights=True) as model:
        assert_matches(model.run(sample.inputs), sample)


def test_describes_itself(model):
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs] == [("x", np.float32, (24, 33))]
    assert [tensor.name for tensor in model.outputs] == ["g", "s"]
    assert model.manifest == {"name": "sample", "größe": 1}


def test_inputs_may_be_positional(model, sample):
    assert_matches(model.run(*sample.inputs.values()), sample)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    ],
    ids=["fortran", "strided", "reversed", "big-endian", "unaligned"],
)
def test_layout_of_an_input_does_not_matter(model, sample, change):
    assert_matches(model.run({"x": change(sample.inputs["x"])}), sample)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs: got the names [], expected ['x']"),
        ({"y": 0}, "inputs: got the names ['y'], expected ['x']"),
        ({"x": np.zeros((24, 33))}, "input 'x': got dtype float64, expected float32; convert with .astype('float32')"),
        ({"x": np.zeros((24, 33), np.int32)}, "input 'x': got dtype int32"),
        ({"x": np.zeros((33, 24), np.float32)}, "input 'x': got shape (33, 24), expected (24, 33)"),
        ({"x": np.zeros((1, 24, 33), np.float32)}, "input 'x': got shape (1, 24, 33)"),
        ({"x": None}, "input 'x': got dtype object"),
        ({"x": [[1.0], [2.0, 3.0]]}, "input 'x': is no array, expected float32[24, 33]"),
    ],
)
def test_misfitting_input_is_refused(model, inputs, message):
    with pytest.raises(EdgesparseRuntimeError) as caught:
        model.run(inputs)

    assert message in str(caught.value)
    assert caught.value.status == "ES_ERR_TENSOR"


@pytest.mark.parametrize(("outputs", "got"), [({}, "the names []"), ({"z": 1}, "the names ['z']"), (3, "int")])
def test_top_of_something_else_than_the_outputs_is_refused(model, outputs, got):
    with pytest.raises(EdgesparseRuntimeError) as caught:
        model.top(outputs)

    assert f"outputs: got {got}, expected what run returns" in str(caught.value)


def test_wrong_count_of_inputs_is_refused(model, sample):
    with pytest.raises(EdgesparseRuntimeError, match="got 2 arrays, expected 1: x"):
        model.run(sample.inputs["x"], sample.inputs["x"])


def test_damaged_file_is_refused_with_its_path(sample, tmp_path):
    path = tmp_path / "model.esp"
    path.write_bytes(serialize([sample.program], {})[:-1])

    with pytest.raises(EdgesparseRuntimeError, match=r"model\.esp: preamble: the file has .* copy it again") as caught:
        Model(path)

    assert caught.value.status == "ES_ERR_TRUNCATED"


def test_damaged_weights_show_only_when_asked(sample):
    damaged = bytearray(serialize([sample.program], {}))
    damaged[damaged.index(sample.program.weights) + 5] ^= 1

    Model(bytes(damaged)).close()

    with pytest.raises(EdgesparseRuntimeError, match="weights section: the checksum"):
        Model(bytes(damaged), verify_weights=True)


def test_profile_times_every_step(model, sample):
    timings = model.step_times(sample.inputs, repeat=4)

    assert [(step.name, step.op, step.kernel) for step in timings] == [
        ("conv1", "Conv+Relu", "spmm"),
        ("gather/größe", "Gather", "gather"),
        ("sum", "ReduceSum", "row_sum"),
    ]
    assert all(len(step.times_us) == 4 and step.median_us > 0 for step in timings)


def test_profile_takes_what_run_takes(model, sample):
    arrays = [sample.inputs[tensor.name] for tensor in model.inputs]

    for given in (arrays, [arrays], [tuple(arrays)], [sample.inputs]):
        assert_matches(model.run(*given), sample)
        assert len(model.step_times(*given, repeat=1)) == 3


def test_a_model_shows_what_it_takes_and_gives(model):
    inputs = ", ".join(f"{t.name} {t.dtype}[{', '.join(map(str, t.shape))}]" for t in model.inputs)

    assert re.fullmatch(rf"<Model of \d+ bytes: {re.escape(inputs)} -> .+>", repr(model))
    model.close()
    assert "bytes, closed:" in repr(model)


def test_closed_model_says_so(model, sample):
    model.close()
    model.close()

    with pytest.raises(EdgesparseRuntimeError, match="the model is closed"):
        model.run(sample.inputs)


def test_forked_process_is_told_to_open_its_own(model, sample):
    """A fork copies no threads: running there, or stopping them, would hang."""
    child = os.fork()
    if child == 0:
        try:
            model.run(sample.inputs)
        except EdgesparseRuntimeError as err:
            model.close()
            os._exit("forked" in str(err))
        os._exit(9)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert_matches(model.run(sample.inputs), sample)


def test_profile_needs_a_run(model, sample):
    with pytest.raises(EdgesparseRuntimeError, match="repeat: got 0, expected a whole number from 1 to 100000"):
        model.step_times(sample.inputs, repeat=0)


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_count_of_threads_is_checked(sample, threads):
    with pytest.raises(EdgesparseRuntimeError, match=f"threads: got {threads}, expected 1 to 64"):
        Model(serialize([sample.program], {}), threads=threads)


def test_threads_may_share_a_model(model, sample):
    failures = []

    def run():
        for _ in range(50):
            try:
                assert_matches(model.run(sample.inputs), sample)
            except BaseException as err:
                failures.append(err)

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert failures == []


def test_gil_is_free_while_a_model_runs(host):
    sample = samples.slow_model(host)
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            ticks += 1

    with Model(serialize([sample.program], {})) as model:
        ticker = threading.Thread(target=tick)
        ticker.start()
        progress = 0
        for _ in range(50):
            before = ticks
            assert model.run(sample.inputs)["y"] == [42]
            progress = max(progress, ticks - before)
        done.set()
        ticker.join()

    assert progress > 100


def test_binding_imports_numpy_and_nothing_else():
    package = Path(sys.modules["edgesparse_runtime"].__file__).parent
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert imported - sys.stdlib_module_names == {"numpy", "edgesparse_runtime"}


def described(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the package in a folder says its version is."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import edgesparse_runtime as r; print(r.__version__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_library_for_this_machine_is_found_among_others(tmp_path):
    installed = Path(sys.modules["edgesparse_runtime"].__file__).parent
    package = Path(shutil.copytree(installed, tmp_path / "edgesparse_runtime"))
    (package / "libedgesparse-alpha.so").write_bytes(b"\x7fELF for another machine")

    among_others = described(tmp_path)
    (package / "libedgesparse.so").unlink()
    alone = described(tmp_path)

    assert among_others.stdout == f"{edgesparse_runtime.__version__}\n", among_others.stderr
    assert f"EdgesparseRuntimeError: {package}: no library loads on Linux on {os.uname().machine}" in alone.stderr
    assert "libedgesparse-alpha.so: " in alone.stderr


def test_works_without_the_compiler(sample, tmp_path):
    write([sample.program], {}, tmp_path / "model.esp")
    package = Path(sys.modules["edgesparse_runtime"].__file__).parents[1]
    code = (
        "import sys, numpy as np; sys.modules['edgesparse'] = None; from edgesparse_runtime import Model; "
        "m = Model(sys.argv[1]); print(sorted(m.run(np.zeros((24, 33), np.float32))))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(package)!r}); {code}"]

    result = subprocess.run([*command, str(tmp_path / "model.esp")], capture_output=True, text=True, cwd=tmp_path)

    assert result.stdout == "['g', 's']\n", result.stderr
