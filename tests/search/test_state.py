"""Partial results: kept, found again, and never mixed up with those of another search."""

from __future__ import annotations

import pytest

from edgesparse.errors import SearchError
from edgesparse.search import State

IDENTITY = {"model": "abc", "skip": ["head"], "threads": 1}


def test_a_resumed_search_finds_what_was_kept(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False).keep("losses", ["layer", 3], 0.25)

    resumed = State(tmp_path / "s", IDENTITY, resume=True)
    resumed.keep("losses", ["layer", 4], 0.5)

    assert (resumed.get("losses", ["layer", 3]), resumed.get("losses", ["layer", 5])) == (0.25, None)
    assert resumed.all("losses") == [0.25, 0.5]
    assert resumed.all("scores") == []


def test_what_is_kept_is_made_once(tmp_path):
    made = iter([{"us": (1.5, 2.0)}, {"us": ()}])

    first = State(tmp_path / "s", IDENTITY, resume=False).once("runs", [0, 1], lambda: next(made))
    again = State(tmp_path / "s", IDENTITY, resume=True).once("runs", [0, 1], lambda: next(made))

    assert first == again == {"us": [1.5, 2.0]}
    assert next(made) == {"us": ()}


def test_a_line_that_was_cut_off_is_forgotten(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False).keep("losses", 1, 0.5)
    with (tmp_path / "s" / "losses.jsonl").open("ab") as file:
        file.write(b'{"key')

    resumed = State(tmp_path / "s", IDENTITY, resume=True)

    assert resumed.all("losses") == [0.5]
    resumed.keep("losses", 2, 0.75)
    assert State(tmp_path / "s", IDENTITY, resume=True).all("losses") == [0.5, 0.75]


def test_a_search_that_is_not_resumed_begins_anew(tmp_path):
    State(tmp_path / "s", IDENTITY, resume=False).keep("losses", 3, 0.5)
    (tmp_path / "s" / "notes.txt").write_text("not ours")

    assert State(tmp_path / "s", IDENTITY, resume=False).all("losses") == []
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


@pytest.mark.parametrize("line", ["{", "[1]", '{"key": 1}'])
def test_a_damaged_line_is_refused(tmp_path, line):
    State(tmp_path / "s", IDENTITY, resume=False).keep("losses", 1, 0.5)
    with (tmp_path / "s" / "losses.jsonl").open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(SearchError, match=r"losses.jsonl: is damaged; remedy"):
        State(tmp_path / "s", IDENTITY, resume=True).get("losses", 1)


def test_a_result_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "s" / "losses.jsonl").mkdir(parents=True)

    with pytest.raises(SearchError, match=r"s: cannot keep partial results there: Is a directory"):
        State(tmp_path / "s", IDENTITY, resume=True).keep("losses", 1, 0.5)


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "s").write_text("a file")

    with pytest.raises(SearchError, match=r"s: cannot keep partial results there"):
        State(tmp_path / "s", IDENTITY, resume=False)
