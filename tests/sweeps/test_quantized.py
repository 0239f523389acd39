"""Every quantized operator gives ONNX Runtime's integers, but for single steps in one of a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from edgesparse import reference
from edgesparse.frontend import quantized_moves
from tests.sweeps import qoperators, quantized
from tests.sweeps.judge import Verdict
from tests.sweeps.quantized import Case
from tests.sweeps.steps import judge
from tests.sweeps.sweeps import shard

SHARDS = 4
ALLOWED = 1e-3
"""Of the integers may differ: sums of floats round elsewhere than sums of integers, and ties fall to either side."""

EVERY = 79  # of the cases are in the sample

assert qoperators  # which adds its operators


@cache
def cases() -> list[Case]:
    return list(quantized.cases())


def require_right(chosen: Sequence[Case]) -> None:
    outcomes = list(judge(chosen))
    wrong = [f"{o.case.id}: {o.reason}" for o in outcomes if o.verdict in (Verdict.WRONG, Verdict.REFUSED)]
    assert not wrong
    judged = [outcome for outcome in outcomes if outcome.verdict == Verdict.RIGHT]
    assert len(judged) > 0.9 * len(chosen)
    off, size = sum(outcome.off for outcome in judged), sum(outcome.size for outcome in judged)
    assert off <= max(1, ALLOWED * size), f"{off} of {size} integers differ by a step"


def test_a_sample_is_right() -> None:
    require_right(cases()[::EVERY])


def test_results_use_the_range_of_their_type() -> None:
    """Where nearly all is saturated, nothing is compared."""
    chosen = [case for case in cases()[::EVERY] if "Softmax" not in case.operator]
    used = []
    for case in chosen:
        found = reference.evaluate(case.model(), case.feeds)[case.output]
        if found.dtype.kind in "iu" and found.size > 8:
            limits = np.iinfo(found.dtype)
            used.append(np.mean((found > limits.min) & (found < limits.max)))

    assert np.mean(used) > 0.5


def test_scales_that_stay_behind_their_axis_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = quantized_moves._moved_axis
    monkeypatch.setattr(quantized_moves, "_moved_axis", lambda node, before: moved(node, before) and 0)
    chosen = [case for case in quantized.cases(["moves"]) if "channels=True" in case.id][:2]

    assert [outcome.verdict for outcome in judge(chosen)] != [Verdict.RIGHT] * 2


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("part", [f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)])
def test_nothing_is_wrong(part: str) -> None:
    require_right(shard(cases(), part))
