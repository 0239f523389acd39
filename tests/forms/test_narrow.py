"""Dense layers of few columns lay their vectors over output channels where lanes would else stay empty."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesparse.devices import targets
from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.narrow import TRANSPOSED_ROW, Narrow, NarrowTile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP
from edgesparse.numerics import F32
from edgesparse.schedule.choose import cost_table, plan_layer
from edgesparse.schedule.cost import work
from tests.forms.test_squares import layer

TARGET = targets.load("x86-64-v4")  # sixteen lanes


def narrow(cpu: Cpu, m: int, c: int, size: int, window: int = 1) -> list[NarrowTile]:
    found = layer(m, c, size, window).layer
    return list(NarrowTile.candidates(found, WeightCounts(found.weight, 1), cpu))


@pytest.mark.parametrize(("m", "c"), [(512, 512), (1024, 1024), (2048, 512)])
def test_lanes_lie_over_channels_where_maps_leave_them_empty(m, c):
    chosen = plan_layer(layer(m, c, 7, window=1), TARGET.cpu, cost_table(TARGET))

    assert (chosen.form, chosen.tile.columns) == ("narrow", 7)
    assert chosen.choice.startswith("dense, 7 columns x ")
    assert "of rows, K " in chosen.choice


def test_full_lanes_and_narrow_machines_have_no_use_for_it():
    assert not narrow(TARGET.cpu, 64, 64, 28)  # 784 columns are 49 vectors
    assert not narrow(targets.load("rpi4").cpu, 512, 512, 7)  # four lanes: one column of 49 is left
    assert not narrow(TARGET.cpu, 16, 512, 7)  # a single vector of rows
    assert not narrow(replace(TARGET.cpu, l2_bytes=1 << 16), 512, 512, 7)  # x in no near cache


@pytest.mark.parametrize(
    ("target", "m", "c", "size", "window"),
    [
        ("x86-64-v3", 33, 3, 9, 1),
        ("x86-64-v3", 512, 64, 14, 3),
        ("x86-64-v4", 33, 3, 7, 1),
        ("x86-64-v4", 512, 512, 7, 3),
        ("x86-64-v4", 96, 64, 9, 3),
    ],
)
def test_tiles_fit_the_machine(target, m, c, size, window):
    """Accumulators and weights fit the registers, a block of a panel the L1 cache; every core has a tile."""
    machine = targets.load(target).cpu
    found = narrow(machine, m, c, size, window)

    assert found
    for tile in found:
        assert (tile.columns + 1) * tile.vectors < machine.registers
        assert tile.columns <= machine.lanes(F32) and size % tile.columns == 0
        assert 4 * tile.k_block * tile.vectors * machine.lanes(F32) < machine.l1d_bytes
        cut = Narrow(layer(m, c, size, window).layer.plane, tile, machine.lanes(F32))
        assert cut.tiles >= machine.cores and cut.share * tile.splits >= cut.steps


def test_work_is_what_a_hand_counts():
    """40 rows are two panels of two vectors, 49 columns seven groups of seven, 5 * 9 inputs three blocks of 20."""
    found = layer(40, 5, 7)
    tile = NarrowTile(2, 20, columns=7)

    units = dict(work(found, WeightCounts(found.layer.weight, 1), tile, replace(TARGET.cpu, l2_bytes=1 << 20)))

    loop = Loop("dense", (1, 1), 2, 7)
    expected = {
        (loop, STEP): 2 * 7 * 45,
        (loop, START): 2 * 7 * 3,
        "partial_vector_ns": 2 * 7 * 2 * 2 * 7,
        "store_piece_ns": 7 * 40 * TRANSPOSED_ROW,
        "tile_ns": 2,
        "call_ns": 1,
        "weight_kib_ns": 4 * 64 * 45 / 1024,
    }
    assert {key: n for key, n in units.items() if n} == expected


@pytest.mark.parametrize(
    ("m", "splits", "threads", "share"),
    [
        (128, 1, 2, 1 / 2),  # four panels
        (96, 1, 2, 2 / 3),  # three
        (96, 2, 2, 11 / 21),  # three panels of four groups of columns, three of three: 11 and 10
        (32, 2, 2, 4 / 7),
        (32, 1, 2, 1.0),
    ],
)
def test_the_busiest_thread_has_what_a_hand_deals_out(m, splits, threads, share):
    found = layer(m, 8, 7, window=1).layer
    tile = NarrowTile(2, 8, splits=splits, columns=7)

    assert tile.busiest_share(found, TARGET.cpu, threads) == pytest.approx(share)
