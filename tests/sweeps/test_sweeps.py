"""Every case of the sweeps is right or refused in one line; a sample of each with every change."""

from __future__ import annotations

import random

import pytest

from tests.sweeps.judge import Verdict, judge
from tests.sweeps.sweeps import OPERATORS, SWEEPS, shard

SHARDS = 8
SAMPLE = 3  # operators of each sweep


def wrong(sweep: str, only: list[str] | None, part: str = "1/1") -> list[str]:
    cases = shard(list(SWEEPS[sweep](only)), part)
    found = [f"{outcome.case.id}: {outcome.reason}" for outcome in judge(cases) if outcome.verdict == Verdict.WRONG]
    assert cases
    return found


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sample_has_nothing_wrong(sweep: str) -> None:
    operators = random.Random(sweep).sample([operator.name for operator in OPERATORS], SAMPLE)

    assert not wrong(sweep, operators, "1/8")


@pytest.mark.parametrize("operator", ["AveragePool", "BatchNormalization", "Dropout", "Resize", "Softmax", "Upsample"])
def test_old_versions_of_what_has_changed_most(operator: str) -> None:
    assert not wrong("versions", [operator], "1/4")


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("part", [f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)])
@pytest.mark.parametrize("sweep", SWEEPS)
def test_nothing_is_wrong(sweep: str, part: str) -> None:
    assert not wrong(sweep, None, part)
