"""Cost tables: written, read, interpolated; mistakes are explained in one line."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace

import pytest

from edgesparse.devices import costs, targets
from edgesparse.devices.costs import Costs, CostTable, Loop, LoopCost
from edgesparse.devices.host import detect
from edgesparse.errors import TargetError

COSTS = Costs(**{field.name: float(i) for i, field in enumerate(fields(Costs))})
EXAMPLE = CostTable(
    "board",
    "measured",
    'by "esrun"',
    COSTS,
    {
        Loop("sparse", (1, 1), 2, 1): LoopCost(2.0, 10.0),
        Loop("sparse", (1, 1), 6, 1): LoopCost(4.0, 30.0),
        Loop("sparse", (4, 1), 2, 4): LoopCost(5.0, 50.0),
        Loop("sparse", (1, 1), 2, 1, 4): LoopCost(7.0, 70.0),
    },
    machine="a CPU",
    l1_share=1.5,
)


def test_a_calibration_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "board.toml"
    path.write_text(costs.dump(EXAMPLE))

    assert costs.read(path) == EXAMPLE


@pytest.mark.parametrize(
    "loop",
    [
        Loop("dense", (1, 1), 4, 6),
        Loop("vector_sparse", (1, 1), 1, 1),
        Loop("sparse", (2, 1), 13, 8, 4),
    ],
)
def test_a_loop_is_found_by_its_name(loop):
    assert Loop.parse(loop.name) == loop
    assert Loop.parse(loop.name.replace("_f32", "")) == loop  # as names were before loops had types


@pytest.mark.parametrize(
    ("vectors", "rows", "block", "expected"),
    [
        (2, 1, (1, 1), LoopCost(2.0, 10.0)),
        (3, 1, (1, 1), LoopCost(2.5, 15.0)),
        (1, 1, (1, 1), LoopCost(2.0, 10.0)),
        (7, 1, (1, 1), None),
        (2, 2, (1, 1), None),
        (2, 2, (4, 1), LoopCost(5.0, 50.0)),
        (2, 4, (1, 4), None),
    ],
)
def test_costs_between_known_loops_are_interpolated(vectors, rows, block, expected):
    assert EXAMPLE.loop(Loop("sparse", block, vectors, rows)) == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema: got 2, expected 1"),
        ('origin = "measured"', 'origin = "guessed"', "origin: got 'guessed', expected 'measured' or 'estimated'"),
        ('target = "board"', "", "target: got None, expected a string"),
        ("call_ns = 0.0", "call_ns = -1", "costs.call_ns: got -1, expected nanoseconds, 0 or more"),
        ("call_ns = 0.0", "call_ns = nan", "costs.call_ns: got nan, expected nanoseconds"),
        ("call_ns = 0.0", "", "costs.call_ns: got None, expected nanoseconds"),
        ("call_ns = 0.0", "call_us = 0.0", "costs.call_us: no such key; expected call_ns"),
        ("l1_share = 1.5", "l1_share = 0", "l1_share: got 0, expected a positive number"),
        ("[loops]", "[loops]\nfast = 1", "loops.fast: expected a name such as sparse_f32_4x1_u4_r1"),
        ("step_ns = 2.0,", "", "loops: sparse_f32_1x1_u2_r1.step_ns: got None"),
        ("[loops]", "[loop]", "loops: got None, expected a table"),
        ("[loops]", "[", "not a TOML file"),
    ],
)
def test_mistake_in_a_calibration_names_file_key_and_what_was_expected(tmp_path, old, new, message):
    path = tmp_path / "board.toml"
    text = costs.dump(EXAMPLE)
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(TargetError) as caught:
        costs.read(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_missing_calibration_is_refused(tmp_path):
    with pytest.raises(TargetError, match="cannot be read: No such file"):
        costs.read(tmp_path / "none.toml")


def board(folder, name="board"):
    path = folder / "board.toml"
    path.write_text((targets.folder() / "rpi4.toml").read_text().replace('name = "rpi4"', f'name = "{name}"'))
    return path


def test_a_target_gets_the_calibration_beside_it_and_rather_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = board(tmp_path)
    assert targets.load(path).cost_table is None

    (tmp_path / "costs").mkdir()
    (tmp_path / "costs/board.toml").write_text(costs.dump(EXAMPLE))
    assert targets.load(path).cost_table == EXAMPLE

    own = replace(EXAMPLE, source="mine")
    kept = targets.cached_costs(targets.load(path))
    kept.parent.mkdir(parents=True)
    kept.write_text(costs.dump(own))
    assert targets.load(path).cost_table == own


def test_the_host_borrows_its_level_and_calls_that_an_estimate_on_another_cpu():
    table = tomllib.loads((targets.folder() / "host.toml").read_text())
    features = frozenset({"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"})
    known = targets.load("x86-64-v4").cost_table
    other = replace(detect(), isa="x86_64", features=features, model="another CPU")

    same = targets.fit_host(table, "host.toml", replace(other, model=known.machine)).cost_table
    borrowed = targets.fit_host(table, "host.toml", other).cost_table

    assert same == known and known.origin == "measured"
    assert borrowed == replace(known, origin="estimated")
