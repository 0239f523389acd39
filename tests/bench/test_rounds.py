"""Measuring in turns: what is wrong or broken is reported, and the others are measured all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.contenders import Contender, Runtime
from bench.rounds import measure, relative_error
from edgesparse.measure.latency import MIN_ROUNDS
from tests.bench import fakes

X = {"x": np.array([1.0, 2.5], np.float32)}


def run(tmp_path: Path, *runtimes: Runtime, precision: str = "f32"):
    contenders = [Contender(runtime, Path("file"), Path("reference"), precision) for runtime in runtimes]
    return measure(contenders, 1, X, lambda _: {"y": np.array([2.0, 5.0]), "count": np.array([4])}, 0.0, tmp_path)


def test_contenders_that_cannot_take_part_stop_nobody(tmp_path):
    sources = {"double": fakes.DOUBLE, "triple": fakes.TRIPLE, "refuses": fakes.REFUSES, "dies": fakes.DIES}

    double, triple, refuses, dies = run(tmp_path, *(fakes.runtime(tmp_path, *each) for each in sources.items()))

    assert double.latency and double.latency.runs >= 2 * MIN_ROUNDS and double.error == 0.0
    assert triple.latency is None
    assert triple.unavailable == "computes something else: relative error 0.5, expected at most 0.001"
    assert refuses.unavailable == "ValueError: cannot read this model"
    assert dies.unavailable.endswith("out of luck")


def test_contender_that_fails_on_the_way_is_unavailable(tmp_path):
    fails, double = run(
        tmp_path, fakes.runtime(tmp_path, "fails", fakes.FAILS_LATER), fakes.runtime(tmp_path, "double", fakes.DOUBLE)
    )

    assert fails.latency is None and fails.unavailable.startswith("IndexError: pop from empty list")
    assert double.latency


def test_environment_that_cannot_be_made_is_unavailable(tmp_path):
    old = replace(fakes.runtime(tmp_path, "old", fakes.DOUBLE), python="3.0")
    (tmp_path / "old.txt").write_text("numpy\n")

    (result,) = run(tmp_path, old)

    assert result.unavailable.startswith("needs Python 3.0, got 3.")


@pytest.mark.parametrize(
    ("actual", "error"),
    [
        ({"y": [3.0, 4.0]}, 0.0),
        ({"y": [3.0, 4.5]}, 0.1),  # 0.5 / 5
        ({"renamed": [[3.0], [4.0]]}, 0.0),
        ({"y": [3.0]}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_error_is_relative_to_the_norm_of_what_is_expected(actual, error):
    found = relative_error({name: np.array(y) for name, y in actual.items()}, {"y": np.array([3.0, 4.0])})

    assert found == pytest.approx(error)
