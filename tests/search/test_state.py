"""Partial results: kept, found again, and never mixed up with those of another search."""

from __future__ import annotations

import pytest

from edgesparse.errors import SearchError
from edgesparse.search import State

IDENTITY = {"model": "abc", "skip": ["head"], "threads": 1}


def test_a_resumed_search_finds_what_was_kept(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False).append("losses", {"level": 3, "loss": 0.25})

    resumed = State(tmp_path / "s", IDENTITY, resume=True)
    resumed.append("losses", {"level": 4, "loss": 0.5})

    assert resumed.rows("losses") == [{"level": 3, "loss": 0.25}, {"level": 4, "loss": 0.5}]
    assert resumed.rows("scores") == []


def test_a_line_that_was_cut_off_is_forgotten(tmp_path):
    state = State(tmp_path / "s", IDENTITY, resume=False)
    state.append("losses", {"level": 1})
    with (tmp_path / "s" / "losses.jsonl").open("ab") as file:
        file.write(b'{"lev')

    assert state.rows("losses") == [{"level": 1}]
    state.append("losses", {"level": 2})
    assert state.rows("losses") == [{"level": 1}, {"level": 2}]


def test_a_search_that_is_not_resumed_begins_anew(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False).append("losses", {"level": 3})
    (tmp_path / "s" / "notes.txt").write_text("not ours")

    assert State(tmp_path / "s", IDENTITY, resume=False).rows("losses") == []
    assert (tmp_path / "s" / "notes.txt").exists()


def test_results_of_another_search_are_refused(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False)

    with pytest.raises(SearchError, match=r"belongs to another search: threads was 1 and is 2 now; remedy"):
        State(tmp_path / "s", {**IDENTITY, "threads": 2}, resume=True)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_state_is_refused(tmp_path, content):
    State(tmp_path / "s", IDENTITY, resume=False)
    (tmp_path / "s" / "state.json").write_text(content)

    with pytest.raises(SearchError, match=r"state.json: is damaged; remedy"):
        State(tmp_path / "s", IDENTITY, resume=True)


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "s").write_text("a file")

    with pytest.raises(SearchError, match=r"s: cannot keep partial results there"):
        State(tmp_path / "s", IDENTITY, resume=False)
