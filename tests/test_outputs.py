"""Files that appear whole or not at all, under any name that the system takes."""

from __future__ import annotations

import os

import pytest

from edgesparse.errors import PackageError, SearchError
from edgesparse.outputs import written


@pytest.mark.parametrize(
    "name", ["model.esp", "no-ending", "a." + "x" * 245, "x" * 250 + ".esp", "\u00e9" * 120 + ".onnx"]
)
def test_a_file_appears_when_the_block_ends(tmp_path, name):
    with written(tmp_path / name) as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / name).exists()

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole"


def test_what_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.esp"
    path.write_text("before")

    with pytest.raises(KeyboardInterrupt), written(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt

    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]


def test_what_the_system_refuses_is_an_error_of_the_callers_kind(tmp_path):
    with pytest.raises(PackageError, match=r"cannot be written: No such file"), written(tmp_path / "no" / "a") as path:
        path.write_text("")
    with pytest.raises(SearchError, match="cannot be written"), written(tmp_path / ("x" * 300), SearchError) as path:
        path.write_text("")


def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with written(tmp_path / "a") as temporary:
            temporary.write_text("")
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
