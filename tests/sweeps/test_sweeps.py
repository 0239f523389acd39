"""Every case of the sweeps is right or refused in one line; a sample of each with every change."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from edgesparse.devices.targets import Target
from tests.backends.cpu.single import ARM
from tests.e2e.flow import esrun
from tests.sweeps.case import Case
from tests.sweeps.judge import Arrays, Machine, Verdict, judge
from tests.sweeps.sweeps import OPERATORS, SWEEPS, shard

SHARDS = 4
SAMPLE = 3  # operators of each sweep


@cache
def cases_of(sweep: str) -> list[Case]:
    return list(SWEEPS[sweep]())


def wrong(cases: Sequence[Case], machine: Machine | None = None) -> list[str]:
    outcomes = judge(cases, machine)
    found = [f"{outcome.case.id}: {outcome.reason}" for outcome in outcomes if outcome.verdict == Verdict.WRONG]
    assert cases
    return found


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sample_has_nothing_wrong(sweep: str) -> None:
    operators = random.Random(sweep).sample([operator.name for operator in OPERATORS], SAMPLE)

    assert not wrong(list(SWEEPS[sweep](operators))[::8])


@pytest.mark.parametrize("operator", ["AveragePool", "BatchNormalization", "Dropout", "Resize", "Softmax", "Upsample"])
def test_old_versions_of_what_has_changed_most(operator: str) -> None:
    assert not wrong(list(SWEEPS["versions"]([operator]))[::4])


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("part", [f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)])
@pytest.mark.parametrize("sweep", SWEEPS)
def test_nothing_is_wrong(sweep: str, part: str) -> None:
    assert not wrong(shard(cases_of(sweep), part))


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("target", ARM, ids=lambda target: target.cpu.isa)
def test_every_type_is_right_on_emulated_targets(target: Target, tmp_path: Path) -> None:
    def run(artifact: bytes, feeds: Arrays) -> Arrays:
        (tmp_path / "model.esp").write_bytes(artifact)
        return esrun(tmp_path / "model.esp", target.cpu.isa, feeds, tmp_path)

    assert not wrong(cases_of("types")[::4], Machine(target, run))
