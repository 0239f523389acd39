"""Transposition against numpy; results are exact."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.transpose import Axis, merged_axes
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32
from tests.backends.cpu.single import outputs_of, random, runnable_targets, single

CASES = [
    ((1, 1), (1, 0)),
    ((1, 9), (1, 0)),
    ((128, 48), (1, 0)),
    ((7, 9), (1, 0)),
    ((33, 17), (1, 0)),
    ((3, 200), (1, 0)),
    ((200, 3), (1, 0)),
    ((2, 200), (1, 0)),
    ((1000, 130), (1, 0)),
    ((1, 33, 12, 32), (0, 2, 1, 3)),
    ((1, 12, 33, 32), (0, 2, 1, 3)),
    ((2, 5, 7, 3), (0, 2, 1, 3)),
    ((2, 14, 14, 40), (0, 3, 1, 2)),
    ((2, 40, 14, 14), (0, 2, 3, 1)),
    ((1, 224, 224, 3), (0, 3, 1, 2)),
    ((1, 3, 100, 100), (0, 2, 3, 1)),
    ((1, 128, 12, 32), (0, 2, 3, 1)),
    ((4, 3, 5, 6, 2), (4, 2, 0, 3, 1)),
    ((2, 3, 4, 5), (3, 2, 1, 0)),
    ((6, 5, 4, 3), (0, 1, 2, 3)),
    ((5000,), (0,)),
]


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: f"{t.cpu.lanes(F32)}lanes")
def test_transpose_moves_every_element(target: Target) -> None:
    cases = {f"{shape} {perm}": single("Transpose", [random(shape)], perm=perm) for shape, perm in CASES}
    permutations = [perm for _, perm in CASES]

    for permutation, (name, case, y) in zip(permutations, outputs_of(cases, target), strict=True):
        np.testing.assert_array_equal(y, case.inputs["x0"].transpose(permutation), err_msg=name)


def test_axes_reverse_by_default() -> None:
    case = single("Transpose", [random((2, 3, 4))])

    y = case.run()

    np.testing.assert_array_equal(y, case.inputs["x0"].transpose())


def test_axes_that_stay_neighbours_merge() -> None:
    assert merged_axes((2, 3, 1, 4, 5), (4, 0, 1, 2, 3)) == [Axis(5, 1, 24), Axis(24, 5, 1)]
