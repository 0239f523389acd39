"""Hashes of artifacts: the same for the same compiler, another where something differs."""

from __future__ import annotations

import json

from tools.hashes.graphs import Graph
from tools.hashes.record import Case, differences, forms, read, record

TINY = Graph("tiny (float[1, 33] x) => (float[1, 7] y) { y = Gemm <transB = 1> (x, w7x33, b7) }", ("dense", "0.8"))


def hashes(tmp_path, pattern="dense", target="rpi4", graph=TINY):
    return Case(str(graph.write(tmp_path / "tiny.onnx")), pattern, target).hashes()


def test_the_same_model_gives_the_same_hashes_and_another_does_not(tmp_path):
    before, again, sparse = hashes(tmp_path), hashes(tmp_path), hashes(tmp_path, "0.8")

    assert differences({"a": before}, {"a": again}) == {}
    assert "weights" in differences({"a": before}, {"a": sparse})["a"]


def test_the_plan_has_no_symbols(tmp_path, monkeypatch):
    from edgesparse.backends.cpu.kernels import column

    before, named = hashes(tmp_path), column.kernel_symbol
    monkeypatch.setattr(column, "kernel_symbol", lambda *facts: f"{named(*facts)}_renamed")

    assert differences({"a": before}, {"a": hashes(tmp_path)}) == {}


def test_what_is_refused_says_why(tmp_path):
    refused = Graph("tiny (float[n, m] x) => (float[n, m] y) { y = Relu (x) }")

    assert "dynamic sizes" in hashes(tmp_path, graph=refused)["refused"]


def test_a_file_is_gone_on_with(tmp_path):
    path, cases = tmp_path / "hashes.jsonl", [Case(str(TINY.write(tmp_path / "tiny.onnx")), "dense", "rpi4")]
    path.write_text(json.dumps({"name": "known", "code": "0"}) + '\n{"name": "cut of')

    assert list(record(cases, path, jobs=1)) == ["tiny dense rpi4"]
    assert list(record(cases, path, jobs=1)) == []
    assert set(read(path)) == {"known", "tiny dense rpi4"}


def test_what_is_on_one_side_only_is_told():
    assert differences({"a": {}}, {"b": {}}) == {"a": "only before", "b": "only after"}


def test_every_target_but_this_machine_has_every_pattern():
    cases = forms()

    assert {case.pattern for case in cases} == {"dense", "0.8", "0.9", "4x1", "1x4", "2:4"}
    assert "host" not in {case.target for case in cases}
    assert len({case.name for case in cases}) == len(cases)
