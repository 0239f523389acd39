"""The fastest model that holds its score, the judge that says so, and what is kept when the judge fails."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesparse.errors import SearchError
from edgesparse.search import Candidate, Judge, State, load_judge, parse_drop, prepare, within_drop, write_pareto
from edgesparse.search.pareto import front
from tests.search.models import LAYERS, setting


def kept_weights(path: str) -> float:
    """Score a model by how many weights of its searched layers are left: 1 for the dense one."""
    tensors = [t for t in onnx.load(path).graph.initializer if t.name in LAYERS.values()]
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in tensors]
    return sum(map(np.count_nonzero, arrays)) / sum(array.size for array in arrays)


@pytest.mark.parametrize("drop", [0.3, 0.5, 0.8])
def test_the_fastest_model_that_holds_is_found(tmp_path, drop):
    problem = prepare(setting(tmp_path))

    found, judged = within_drop(problem, drop, Judge("tests:kept_weights", kept_weights))

    chosen = next(candidate for candidate in judged if candidate.densities == found.densities)
    assert judged[0].score == 1.0 and set(judged[0].densities.values()) == {1.0}
    assert all(candidate.holds is (candidate.score >= 1 - drop) for candidate in judged)
    assert chosen.holds and chosen.latency_us == found.latency_us
    assert found.latency_us == min(candidate.latency_us for candidate in judged if candidate.holds)
    faster = problem.pruned(problem.best_within(0.9 * found.latency_us).levels)
    ir.save(faster, tmp_path / "faster.onnx")
    assert kept_weights(tmp_path / "faster.onnx") < 1 - drop


def test_a_model_that_always_holds_ends_near_the_fastest(tmp_path):
    problem = prepare(setting(tmp_path))

    found, _ = within_drop(problem, 0.0, Judge("tests:same", lambda path: -3.0))

    assert found.latency_us < 1.05 * problem.table.least_us


def test_a_drop_is_a_share_of_a_negative_score_too(tmp_path):
    scores = iter([-10.0, -10.9, -11.1, *[-20.0] * 9])

    _, judged = within_drop(prepare(setting(tmp_path)), 0.1, Judge("tests:perplexity", lambda path: next(scores)))

    assert [candidate.holds for candidate in judged[:3]] == [True, True, False]


def test_a_judge_that_raises_is_named_and_what_it_said_before_is_kept(tmp_path):
    first = setting(tmp_path)
    asked = []

    def fails_late(path: str) -> float:
        asked.append(path)
        if len(asked) == 3:
            raise ValueError("no such image\nat line 3")
        return 1.0 / len(asked)

    judge = Judge("mine:accuracy", fails_late)
    with pytest.raises(SearchError) as err:
        within_drop(prepare(first), 0.1, judge)
    assert str(err.value).startswith("eval mine:accuracy: raised on ")
    assert "ValueError: no such image; what is known is kept" in str(err.value)

    resumed = replace(first, state=State(first.state.folder, {}, resume=True))
    _, judged = within_drop(prepare(resumed), 0.1, judge)

    assert [candidate.score for candidate in judged[:3]] == [1.0, 0.5, 0.25]
    assert len(asked) == len({str(candidate.densities) for candidate in judged}) + 1


@pytest.mark.parametrize("score", [None, "0.9", True, float("nan"), float("inf")])
def test_a_judge_that_returns_no_number_is_named(tmp_path, score):
    with pytest.raises(SearchError, match=r"eval mine:score: returned .* expected a finite number"):
        Judge("mine:score", lambda path: score).score(tmp_path / "model.onnx")


def test_numbers_of_numpy_are_numbers(tmp_path):
    assert Judge("mine:score", lambda path: np.float32(0.5)).score(tmp_path / "model.onnx") == 0.5


def test_a_candidate_that_cannot_be_written_is_named(tmp_path):
    first = setting(tmp_path)
    (first.state.folder / "candidate.onnx").mkdir()

    with pytest.raises(SearchError, match=r"candidate.onnx: cannot be written"):
        within_drop(prepare(first), 0.1, Judge("tests:same", lambda path: 1.0))


def test_functions_are_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "judge_of_mine.py").write_text("LIMIT = 3\ndef score(path):\n    return len(path)\n")
    (tmp_path / "broken_judge.py").write_text("raise RuntimeError('no data')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert load_judge("judge_of_mine:score").function("four") == 4
    for name, reason in {
        "judge_of_mine": "got 'judge_of_mine', expected package.module:function",
        ":score": "expected package.module:function",
        "judge_of_mine:LIMIT": "eval: judge_of_mine:LIMIT is of type int, expected a function",
        "judge_of_mine:grade": "eval: judge_of_mine has no function 'grade'",
        "broken_judge:score": "importing broken_judge failed: RuntimeError: no data",
        "no_such_judge:score": "there is no module 'no_such_judge', here or installed",
    }.items():
        with pytest.raises(SearchError) as err:
            load_judge(name)
        assert reason in str(err.value)


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("2.5 %", 0.025), (0.01, 0.01), ("0", 0.0), ("1e-3", 0.001)])
def test_a_drop_is_a_share(text, share):
    assert parse_drop(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["100%", "1", "-1%", "some", "", "1%%", float("nan")])
def test_other_drops_are_refused(text):
    with pytest.raises(SearchError, match="expected a share below 1 such as 1%"):
        parse_drop(text)


def candidate(latency_us: float, score: float, *, holds: bool = True) -> Candidate:
    return Candidate({"layer": 0.5}, latency_us, 0.0, score, holds)


def test_the_front_holds_what_nothing_beats_in_both():
    dense, best, dominated, slow = candidate(9, 0.9), candidate(4, 0.8), candidate(5, 0.7), candidate(10, 0.9)

    assert front([dense, best, dominated, slow]) == [best, dense]


def test_candidates_are_written_as_json_and_as_a_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    judged = [candidate(9, 0.9), candidate(4, 0.8), candidate(5, 0.7, holds=False)]

    files = write_pareto(judged, tmp_path / "m.pareto.json", "predicted latency on rpi4")

    written = json.loads((tmp_path / "m.pareto.json").read_text())
    assert written["latency"] == "predicted latency on rpi4"
    assert [(row["latency_us"], row["score"], row["on_front"]) for row in written["candidates"]] == [
        (9, 0.9, True),
        (4, 0.8, True),
        (5, 0.7, False),
    ]
    assert files == (tmp_path / "m.pareto.json", tmp_path / "m.pareto.svg")
    assert "predicted latency on rpi4, ms" in files[1].read_text()


def test_without_matplotlib_there_is_no_plot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    assert write_pareto([candidate(9, 0.9)], tmp_path / "m.json", "latency") == (tmp_path / "m.json",)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SearchError, match=r"m.json: cannot be written: No such file"):
        write_pareto([candidate(9, 0.9)], tmp_path / "no" / "m.json", "latency")
