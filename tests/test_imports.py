"""The user's own functions by name, from the working directory too, whatever their modules do."""

from __future__ import annotations

import sys

import pytest

from edgesparse.errors import SearchError
from edgesparse.imports import function, importable

MODULES = {
    "leaves_path": "import os, sys\nsys.path[:] = [*{*sys.path} - {os.getcwd()}]\ndef f(): return 1\n",
    "raises_on_names": "def __getattr__(name): raise RuntimeError('no ' + name)\n",
    "ends": "raise SystemExit(3)\n",
    "holds": "constant = 3\ndef grade(): return 1\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_module_may_take_the_folder_off_the_path(folder):
    with importable(folder):
        assert function("leaves_path:f", SearchError, "eval")() == 1

    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises_on_names:f", "eval: importing raises_on_names failed: RuntimeError: no f"),
        ("ends:f", "eval: importing ends failed: SystemExit: 3"),
        ("holds:constant", "eval: holds:constant is of type int, expected a function"),
        ("holds:grades", "eval: holds has no function 'grades'; did you mean grade?"),
        ("not_there:f", "eval: there is no module 'not_there', here or installed"),
        ("", "eval: got '', expected package.module:function"),
        ("holds:", "eval: got 'holds:', expected package.module:function"),
    ],
)
def test_what_cannot_be_found_is_told(folder, name, message):
    with importable(folder), pytest.raises(SearchError) as err:
        function(name, SearchError, "eval")

    assert str(err.value) == message
