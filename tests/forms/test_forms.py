"""What every form promises, whichever it is: shown for all that are listed, on layers with odd sizes."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse.devices import targets
from edgesparse.forms import FORMS, candidates
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.ops import Weighted, graph_of
from edgesparse.schedule import cost_table
from edgesparse.schedule.cost import time_us, work
from tests.backends.cpu.planned import lowered_by

TARGETS = [name for name in targets.names() if name != targets.HOST]
SHAPES = {  # batch, channels, height, width; M, window, group
    "column": ((1, 33, 1, 1), 7, 1, 1),
    "pointwise": ((1, 9, 7, 7), 33, 1, 1),
    "window": ((2, 8, 9, 14), 33, 3, 1),
    "grouped": ((1, 8, 7, 33), 8, 3, 2),
    "small map": ((1, 64, 7, 7), 96, 3, 1),
}


def model(x: tuple[int, ...], m: int, window: int, group: int, density: float) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((m, x[1] // group, window, window)).astype(np.float32)
    w[rng.random(w.shape) >= density] = 0
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[window // 2] * 4, group=group)
    values = [helper.make_tensor_value_info(name, 1, x if name == "x" else None) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [numpy_helper.from_array(w, "w")])
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


def layer(name: str, density: float) -> Weighted:
    return graph_of(ir.from_proto(model(*SHAPES[name], density))).weighted[0]


def tiles(op: Weighted, target: targets.Target) -> list[Tile]:
    return list(candidates(op.layer, WeightCounts(op.layer.weight, op.layer.plane.groups), target.cpu))


def test_forms_have_names_of_their_own_and_a_kernel_each():
    names = [form.form for form in FORMS]

    assert len(set(names)) == len(names)
    assert all(callable(import_module(f"edgesparse.backends.cpu.kernels.{name}").kernel) for name in names)


def test_every_form_is_a_candidate_somewhere():
    found = {
        type(tile) for name in SHAPES for board in TARGETS for tile in tiles(layer(name, 0.5), targets.load(board))
    }

    assert found == set(FORMS)


@pytest.mark.parametrize("board", TARGETS)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_every_candidate_can_be_priced_and_told(name, density, board):
    op, target = layer(name, density), targets.load(board)
    table = cost_table(target)
    weight = WeightCounts(op.layer.weight, op.layer.plane.groups)

    found = tiles(op, target)

    assert {tile.is_sparse for tile in found} == {False, True}
    assert len({(tile.form, tile.name) for tile in found}) == len({tile.words for tile in found}) == len(set(found))
    times = {tile: time_us(work(op, weight, tile, target.cpu), table) for tile in found}  # None beyond what is known
    assert {tile.is_sparse for tile, us in times.items() if us is not None} == {False, True}
    for tile in found:
        us = times[tile]
        shares = [tile.busiest_share(op.layer, target.cpu, threads) for threads in (1, 2, 4)]
        assert us is None or us > 0
        assert shares[0] == pytest.approx(1) and shares == sorted(shares, reverse=True) and shares[2] >= 0.25 - 1e-9
        assert tile.words.startswith("sparse" if tile.is_sparse else "dense")


@pytest.mark.parametrize("name", SHAPES)
def test_a_call_takes_what_its_tile_packs(name):
    """Sizes of all operands are those of the kernel's parameters, for the first and the last tile of every form."""
    op, target = layer(name, 0.5), replace(targets.load("x86-64-v4"), cost_table=None)
    found = tiles(op, target)
    firsts = {type(tile): tile for tile in reversed(found)} | {(type(tile), "last"): tile for tile in found}

    for tile in firsts.values():
        (call,) = [
            call
            for call in lowered_by(ir.from_proto(model(*SHAPES[name], 0.5)), lambda _, tile=tile: tile, target).calls
            if call.name == "conv"
        ]
        packed = tile.pack(op.layer, op.fusion.bias, target.cpu)
        assert len(call.kernel.func.params) - 2 - bool(call.kernel.scratch_bytes) == len(call.reads) + len(call.writes)
        assert sum(constant.data.nbytes for constant in packed) <= sum(
            read.data.nbytes for read in call.reads if hasattr(read, "data")
        )


def test_cost_tables_that_ship_know_every_loop():
    for board in TARGETS:
        target = targets.load(board)
        known = cost_table(target)
        assert all(known.loop(loop) is not None for form in FORMS for loop in form.loops(target.cpu)), board
