"""Threads share the work of a model, and models share a process."""

from __future__ import annotations

import pytest
from edgesparse_runtime import Model

from edgesparse.package.writer import serialize, write
from runtime.tests import samples
from runtime.tests.conftest import run_program


def test_four_threads_run_two_models_without_a_race(crowd, host, tmp_path):
    sparse, counting = tmp_path / "sparse.esp", tmp_path / "counting.esp"
    write([samples.sparse_model(host).program], {}, sparse)
    write([samples.counting_model(host, tiles=101, step_count=9).program], {}, counting)

    result = run_program(crowd, sparse, counting, 100)

    assert (result.returncode, result.stderr) == (0, "")


def test_session_in_use_reports_busy(crowd, host, tmp_path):
    slow, sparse = tmp_path / "slow.esp", tmp_path / "sparse.esp"
    write([samples.slow_model(host).program], {}, slow)
    write([samples.sparse_model(host).program], {}, sparse)

    result = run_program(crowd, slow, sparse, 5)

    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) > 0


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("tiles", [1, 2, 7, 64, 1000])
def test_every_tile_of_every_step_runs_once(host, threads, tiles):
    sample = samples.counting_model(host, tiles, step_count=50)
    with Model(serialize([sample.program], {}), threads=threads) as model:
        for _ in range(20):
            output = model.run(sample.inputs)["counts"]

            assert (output == sample.outputs["counts"]).all()
