"""Cost tables from the port model: what the experiments take by it is what the cost table predicts."""

from __future__ import annotations

import pytest

from edgesparse import schedule
from edgesparse.devices import costs, targets
from edgesparse.devices.costs import ESTIMATED, Loop
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Experiment
from tools.boards.cost_table import estimated
from tools.boards.emulate import EmulatorError, tools

ARM = ("rpi3", "rpi4", "rpi5", "android-arm64")


@pytest.mark.parametrize("board", ARM)
def test_a_board_nobody_has_measured_says_so_and_knows_every_loop_that_is_tried(board):
    path = targets.folder() / "costs" / f"{board}.toml"

    found = costs.read(path)

    assert (found.target, found.origin) == (board, ESTIMATED)
    assert "port model" in found.source
    tried = {e.tile for e in schedule.experiments(targets.load(board).cpu)}
    for tile in (tile for tile in tried if isinstance(tile, SparseTile)):
        assert found.loop(Loop("sparse", tile.block, tile.vectors, tile.rows, tile.chunk)) is not None


@pytest.mark.slow(part="boards")
def test_an_estimated_table_predicts_what_the_port_model_says(monkeypatch):
    """Few experiments, each with a loop of its own: the fit can meet all of them."""
    try:
        tools()
    except EmulatorError as err:
        pytest.skip(str(err))
    target = targets.load("rpi4")
    every = schedule.experiments(target.cpu)
    some: list[Experiment] = [e for e in every if e.name.startswith(("sparse_f32_1x1_u4_r1 ", "dense_f32_1x1_u4_r6 "))]
    assert some
    monkeypatch.setattr(schedule, "experiments", lambda _: some)

    found = estimated(target)

    assert found.cost_table.origin == ESTIMATED
    assert set(found.ratios) == {e.name for e in some}
    assert all(0.8 < ratio < 1.2 for ratio in found.ratios.values()), found.ratios
