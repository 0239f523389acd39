"""Tables: ratios are right, each rival is held against what it can be held against, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contenders import EDGESPARSE, Runtime
from bench.limit import DENSE, SPARSE, Limit
from bench.machine import Machine
from bench.plot import curves, draw
from bench.table import Case, Report, markdown, ratios
from tests.bench.fakes import result

FILE = Path("served.py")
FAST, SLOW = Runtime("fast", "Fast", FILE, ("dense", "int8")), Runtime("slow", "Slow", FILE)
ZEROS = Runtime("zeros", "Zeros", FILE, ("pruned",))
MACHINE = Machine("a CPU", (), 2, None, None, "Linux", "2026-01-01", 0.5, {"edgesparse": "0.1.0"})
FACTS = {"artifact_bytes": 2_500_000, "compile_seconds": 3.4, "sparse_layers": 7, "weighted_layers": 9}
LIMIT = Limit("net", 0.1, "1x1", 2_000_000, 100.0, 50.0, {SPARSE: 30.0, "Softmax": 15.0, DENSE: 5.0})


def case(threads: int = 1) -> Case:
    results = (
        result(EDGESPARSE, 5.0),
        result(EDGESPARSE, 1.0, density=0.1, facts=FACTS),
        result(EDGESPARSE, 0.5, density=0.1, pattern="4x1"),
        result(FAST, 4.0),
        result(FAST, 2.0, precision="int8"),
        result(SLOW, 8.0),
        result(ZEROS, 3.5),
        result(ZEROS, 3.0, density=0.1),
        result(Runtime("gone", "Gone", FILE), None),
    )
    return Case("net", threads, results, (LIMIT,))


def test_ratio_is_theirs_over_ours():
    ours, theirs = result(EDGESPARSE, 2.0).latency, result(SLOW, 8.0).latency

    assert ratios(ours, theirs) == (4.0, 4.0)
    assert ratios(ours, None) is None


def test_fastest_is_made_for_dense_models_and_f32():
    fastest = case().fastest

    assert fastest and fastest.contender.title == "Fast" and fastest.contender.precision == "f32"


def test_there_is_no_fastest_where_no_rival_runs():
    assert Case("net", 1, (result(EDGESPARSE, 1.0), result(SLOW, None))).fastest is None


def test_row_has_the_ratio_over_every_rival():
    text = markdown(Report("command", MACHINE, (case(),)))

    rows = [line for line in text.splitlines() if line.startswith("|")]
    (at,) = [at for at, row in enumerate(rows) if "edgesparse, ms" in row]
    head, _, dense, pruned, blocks = rows[at : at + 5]
    assert head.endswith("| edgesparse, ms | speedup | over | Fast | Fast int8 | Slow | Zeros |")
    assert dense.endswith(
        "| 5.00 / 5.00 | 0.80x / 0.80x | Fast | 0.80x / 0.80x | 0.40x / 0.40x | 1.60x / 1.60x | 0.70x / 0.70x |"
    )
    assert pruned.startswith("| net | 1 | f32 | 0.1 | 1x1 | 1.00 / 1.00 | 4.00x / 4.00x | Fast |")
    assert pruned.endswith("| 3.00x / 3.00x |")  # Zeros, of the same density and pattern
    assert blocks.startswith("| net | 1 | f32 | 0.1 | 4x1 |") and blocks.endswith("| - |")


def test_overview_has_a_column_for_each_model():
    other = Case("other", 1, (result(EDGESPARSE, 2.0), result(SLOW, 5.0)))

    rows = [line for line in markdown(Report("", MACHINE, (case(), other, case(2)))).splitlines() if line[:1] == "|"]

    assert rows[0] == "| threads | type | density | pattern | net | other |"
    assert rows[2] == "| 1 | f32 | 1 | - | 0.80x / 0.80x | 2.50x / 2.50x |"
    assert rows[3:5] == ["| 1 | f32 | 0.1 | 1x1 | 4.00x / 4.00x | - |", "| 1 | f32 | 0.1 | 4x1 | 8.00x / 8.00x | - |"]
    assert rows[5] == "| 2 | f32 | 1 | - | 0.80x / 0.80x | - |"


def test_models_of_bytes_are_held_against_those_of_rivals_too():
    ours = result(EDGESPARSE, 0.5, density=0.1, pattern="1x4", precision="int8")
    both = Case("net", 1, (*case().results, ours))

    lines = markdown(Report("", MACHINE, (both,))).splitlines()

    assert lines.count("| 1 | int8 | 0.1 | 1x4 | 8.00x / 8.00x |") == 1  # over 4 ms of the fastest in f32
    assert lines.count("| 1 | int8 | 0.1 | 1x4 | 4.00x / 4.00x |") == 1  # over 2 ms of the fastest of 8 bits
    assert "8 bits" not in markdown(Report("", MACHINE, (case(),)))


def test_report_names_what_is_unavailable_and_where_it_was_measured():
    text = markdown(Report("command", MACHINE, (case(),)))

    assert "- Gone, net at density 1 1x1, threads 1: unavailable: not for this machine" in text
    assert "Measured by `command` on 2026-01-01: a CPU, 2 cores, load 0.5; edgesparse 1.0, fast 1.0" in text


def test_limit_is_operations_at_the_peak():
    assert LIMIT.limit_us == pytest.approx(20.0)  # 2e6 at 100e9 a second
    assert LIMIT.times == pytest.approx(2.5)
    assert LIMIT.share(SPARSE) == pytest.approx(0.6)
    assert "| 100 | 0.02 | 2.5 | 60% | 10% | 0% | 0% | 0% | 30% | 0% |" in markdown(Report("", MACHINE, (case(),)))


def test_artifacts_are_listed_once_for_all_threads():
    lines = markdown(Report("", MACHINE, (case(1), case(2)))).splitlines()

    assert lines.count("| net | f32 | 0.1 | 1x1 | 2.5 | 7 of 9 | 3 |") == 1


def test_curves_of_every_pattern_begin_at_the_dense_point():
    found = curves([case(1), case(2)], threads=2)

    assert found == {("net", "1x1"): [(0.1, 4.0), (1.0, 0.8)], ("net", "4x1"): [(0.1, 8.0), (1.0, 0.8)]}


def test_plot_is_written(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the bench extra")

    draw([case(1), case(2)], tmp_path / "plot.svg")

    assert "<svg" in (tmp_path / "plot.svg").read_text()
