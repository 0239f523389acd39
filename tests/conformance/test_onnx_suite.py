"""ONNX's own conformance suite: models of PyTorch and simple ones pass, nothing is ever wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.conformance.report import PATH, render
from tests.conformance.suite import Case, Outcome, Verdict, cases, judge, judge_all

FLOOR = 0.7  # of the node cases
STRIDE = 11  # one node case in so many runs with every change


def identify(case: Case) -> str:
    return case.id


@pytest.mark.parametrize(
    "case", [case for kind in ("simple", "pytorch-converted", "pytorch-operator") for case in cases(kind)], ids=identify
)
def test_models_pass(case: Case) -> None:
    outcome = judge(case)

    assert outcome.verdict == Verdict.PASSED, outcome.reason


def wrong(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"{outcome.name}: {outcome.reason}" for outcome in outcomes if outcome.verdict == Verdict.WRONG]


def test_operators_pass_or_are_declined() -> None:
    """One test, since to make the cases takes ten seconds, which no other process needs to spend."""
    assert not wrong(judge(case) for case in cases("node")[::STRIDE])


def test_the_page_has_a_row_for_every_operator_of_the_suite() -> None:
    text, table = PATH.read_text().split("## Node cases by operator")

    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| .*\|$", table, re.MULTILINE)
    assert {operator: sum(map(int, counts)) for operator, *counts in rows} == Counter(
        case.operator for case in cases("node")
    )
    assert text.startswith(render([]).partition("| part |")[0])


@pytest.mark.slow(part="sweeps")
def test_the_whole_suite_reaches_its_floor() -> None:
    outcomes = judge_all()

    nodes = [outcome for outcome in outcomes if outcome.kind == "node"]
    passed = sum(outcome.verdict == Verdict.PASSED for outcome in nodes)
    assert not wrong(outcomes)
    assert passed >= FLOOR * len(nodes)
    assert render(outcomes) == PATH.read_text(), "run python -m tests.conformance.report"
