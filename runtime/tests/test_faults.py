"""A kernel that meets a value it cannot use ends the run, says which one, and leaves outputs and session whole."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model, _library

from edgesparse.package.writer import serialize, write
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import launcher, run_program

TILES = 333


def failure(model: Model, inputs: dict[str, np.ndarray]) -> tuple[str, str]:
    """Status and message of a run that must fail."""
    with pytest.raises(EdgesparseRuntimeError) as caught:
        model.run(inputs)
    return caught.value.status, str(caught.value)


@pytest.fixture
def sample(host):
    return samples.lookup_model(host, TILES)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_lowest_wrong_element_is_named_whatever_the_threads(sample, threads):
    ids = sample.inputs["ids"].copy()
    ids[[332, 201, 57, 58]] = [8, -1, -(2**63), 2**63 - 1]

    with Model(serialize([sample.program], {}), threads=threads) as model:
        for _ in range(50):
            assert failure(model, sample.inputs | {"ids": ids}) == (
                "ES_ERR_INPUT",
                "step 1 'embed' (Gather): element 57 of 'ids' is -9223372036854775808, expected 0 to 7",
            )


@pytest.mark.parametrize("threads", [1, 3])
def test_session_is_right_in_the_run_after_a_fault(sample, threads):
    wrong = np.full(TILES, 8)

    with Model(serialize([sample.program], {}), threads=threads) as model:
        for _ in range(5):
            assert failure(model, sample.inputs | {"ids": wrong})[0] == "ES_ERR_INPUT"

            np.testing.assert_array_equal(model.run(sample.inputs)["y"], sample.outputs["y"])


def test_outputs_and_times_are_not_written_after_a_fault(sample):
    inputs = [np.full(TILES, -1), sample.inputs["table"]]
    output, times_ns = np.full(TILES, 77, np.int32), (ctypes.c_uint64 * 3)(5, 5, 5)
    given, wanted = (_library.Buffer * 2)(), (_library.Buffer * 1)()
    for buffer, array in zip([*given, *wanted], [*inputs, output], strict=True):
        buffer.data, buffer.size_bytes = array.ctypes.data, array.nbytes

    with Model(serialize([sample.program], {})) as model:
        session = _library.library().es_session_profile
        status = session(model._session, given, 2, wanted, 1, times_ns, _library.Error())

    assert (status, set(output), list(times_ns)) == (16, {77}, [5, 5, 5])


@pytest.mark.parametrize(
    ("bits", "says"),
    [
        (np.float64("nan"), "is NaN, expected -1 to 250000"),
        (np.float64("-inf"), "is -infinity, expected"),
        (np.float64(1e20), "is 1.00000e20, expected"),
        (np.float64(-0.015625), "is -1.56250e-2, expected"),
        (np.float64(5e-324), "is 4.94066e-324, expected"),
    ],
)
def test_refused_floats_are_shown(sample, bits, says):
    assert says in _reported(sample, [2, 0, 4, *np.array([bits, -1, 250000]).view(np.int64)])[1]


def _reported(sample: samples.Sample, record: list[int], status: int = 1) -> tuple[str, str]:
    """What is said about a kernel that returns `status` with this record."""
    scripted = samples.scripted_failure(sample, [status, *record])
    with Model(serialize([scripted.program], {})) as model:
        return failure(model, scripted.inputs)


@pytest.mark.parametrize(
    ("record", "status", "says"),
    [
        ([3, 0, 9, 0, 0, 0], "ES_ERR_INPUT", "element 9 of 'ids' is 0, which nothing can be divided by"),
        ([9, 0, 9, 0, 0, 0], "ES_ERR_INPUT", "element 9 of 'ids' is not allowed"),
        ([1, 70, 9, 1, 2, 3], "ES_ERR_INPUT", "element 9 of '' is 1, expected 2 to 3"),
        ([1, -1, 9, 1, 2, 3], "ES_ERR_INPUT", "element 9 of '' is 1, expected 2 to 3"),
    ],
)
def test_any_record_is_described(sample, record, status, says):
    found, message = _reported(sample, record)

    assert (found, message) == (status, f"step 1 'embed' (Gather): {says}")


@pytest.mark.parametrize("size", [100, 150, 255, 256, 1000, 16000])
@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u6f22", "\U0001f600"])
def test_long_names_lose_their_middle_and_no_number(sample, size, letter):
    before, step, after = sample.program.steps
    name = (letter * size).encode()[:size].decode(errors="ignore") + "end"
    args = (replace(step.args[0], name=name), *step.args[1:])
    renamed = (before, replace(step, name=name, op="Gather" * 50, args=args), after)
    ids = np.full(TILES, -(2**63))

    with Model(serialize([replace(sample.program, steps=renamed)], {})) as model:
        _, message = failure(model, sample.inputs | {"ids": ids})

    assert len(message.encode()) <= 255 and message.encode().decode() == message
    shown = rf"step 1 '{letter}+(\.\.\.{letter}*|)end' \((Gather)+.*\.\.\..*(Gather)*\): element 0 of "
    shown += rf"'{letter}+(\.\.\.{letter}*|)end' is {-(2**63)}, expected 0 to 7"
    assert re.fullmatch(shown, message), message


@pytest.mark.parametrize("status", [2, -1, 2**31 - 1])
def test_status_that_the_runtime_does_not_know_is_refused(sample, status):
    found, message = _reported(sample, [1, 0, 0, 0, 0, 0], status)

    assert (found, message) == (
        "ES_ERR_UNSUPPORTED",
        f"step 1 'embed': its kernel returned {status}, which this runtime does not know; install a newer runtime",
    )


@pytest.mark.parametrize("platform", sorted(build.PLATFORMS))
def test_esrun_reports_a_fault(platform, tmp_path):
    sample = samples.lookup_model(platform, TILES)
    write([sample.program], {}, tmp_path / "model.esp")
    ids = sample.inputs["ids"].copy()
    ids[99] = 8
    np.save(tmp_path / "ids.npy", ids)
    np.save(tmp_path / "table.npy", sample.inputs["table"])
    inputs = [word for name in ("ids", "table") for word in ("--input", f"{name}={tmp_path}/{name}.npy")]
    program = [*launcher(platform), build.esrun(platform), tmp_path / "model.esp"]

    result = run_program(*program, *inputs, "--output", tmp_path / "y.npy")

    assert result.returncode == 1
    assert "step 1 'embed' (Gather): element 99 of 'ids' is 8, expected 0 to 7 (ES_ERR_INPUT)" in result.stderr
    assert not (tmp_path / "y.npy").exists()
