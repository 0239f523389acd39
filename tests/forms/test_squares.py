"""Dense 3x3 convolutions are computed in squares where that is possible and pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse.devices import targets
from edgesparse.devices.costs import Loop
from edgesparse.devices.cpu import Cpu
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.winograd import TRANSFORM_FMAS, Squares, WinogradTile
from edgesparse.forms.work import START, STEP
from edgesparse.graph.layers import Layer
from edgesparse.graph.ops import Weighted, graph_of
from edgesparse.numerics import F32
from edgesparse.schedule.choose import cost_table, plan_layer
from edgesparse.schedule.cost import work
from edgesparse.schedule.estimate import estimate

TARGET = targets.load("x86-64-v4")


def layer(m: int, c: int, size: int, window: int = 3, density: float = 1.0, **attributes: Any) -> Weighted:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((m, c // attributes.get("group", 1), window, window)).astype(np.float32)
    w[rng.random(w.shape) >= density] = 0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[window // 2] * 4, **attributes)],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, c, size, size))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    (found,) = graph_of(ir.from_proto(onnx.shape_inference.infer_shapes(helper.make_model(graph)))).weighted
    return found


def squares(found: Layer, cpu: Cpu) -> WinogradTile | None:
    return next(WinogradTile.candidates(found, WeightCounts(found.weight, 1), cpu), None)


@pytest.mark.parametrize(("m", "c", "size"), [(64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7)])
def test_squares_are_chosen_where_they_pay(m, c, size):
    chosen = plan_layer(layer(m, c, size), TARGET.cpu, cost_table(TARGET))

    assert (chosen.kernel, chosen.form) == ("dense", "winograd")
    assert chosen.choice.startswith("dense in squares of 2x2, ")
    assert "Winograd" in chosen.reason


@pytest.mark.parametrize(
    ("window", "attributes"),
    [(1, {}), (5, {}), (3, {"strides": [2, 2]}), (3, {"dilations": [2, 2]}), (3, {"group": 2})],
)
def test_other_windows_have_no_squares(window, attributes):
    assert squares(layer(64, 64, 28, window, **attributes).layer, TARGET.cpu) is None


def test_a_transformed_x_that_no_cache_holds_has_no_squares():
    small = replace(TARGET.cpu, l2_bytes=65536)

    assert squares(layer(8, 512, 7).layer, small) is None


def test_squares_are_declined_where_the_transforms_cost_more():
    """Two channels on one side: as many transforms as on the other, but few multiplications."""
    found = layer(512, 2, 7)

    assert squares(found.layer, TARGET.cpu)
    assert plan_layer(found, TARGET.cpu, cost_table(TARGET)).form != "winograd"


def test_squares_need_a_measured_calibration():
    assert plan_layer(layer(64, 64, 56), TARGET.cpu, estimate(TARGET)).form != "winograd"


def test_few_zeros_leave_squares_and_many_do_not():
    chosen = [plan_layer(layer(128, 128, 28, density=d), TARGET.cpu, cost_table(TARGET)) for d in (0.1, 0.9)]

    assert [plan.form for plan in chosen] == ["sparse", "winograd"]


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "rpi3", "rpi4", "rpi4-32bit"])
@pytest.mark.parametrize(("m", "c", "size"), [(1, 3, 1), (7, 3, 9), (64, 64, 56), (512, 512, 7), (16, 8, 224)])
def test_a_tile_of_squares_fits_the_machine(target, m, c, size):
    """Accumulators fit the registers, V the L2 cache; blocks cover the map; every core has a tile where it can."""
    machine = targets.load(target).cpu
    found = layer(m, c, size)

    tile = squares(found.layer, machine)
    if tile is not None:  # V of many channels on a wide map fits no small cache
        cut = Squares(found.layer.plane, tile.vectors, machine.lanes(F32))
        assert tile.rows * tile.vectors < machine.registers
        assert 16 * c * cut.rows * cut.width * 4 <= machine.l2_bytes
        assert (cut.blocks - 1) * cut.rows + cut.last_rows == cut.height == -(-size // 2)
        assert 1 <= cut.last_rows <= cut.rows
        assert sum(cut.chunks(cut.rows)) * machine.lanes(F32) >= cut.rows * cut.width
        most = max(cut.rows / cut.height / tile.splits, 1 / machine.cores)
        assert tile.busiest_share(found.layer, machine, machine.cores) <= 1.5 * most


def test_work_of_squares_is_what_a_hand_counts():
    """14x14 outputs: four rows of 7 squares in 16 + 12 lanes, then three in 16 + 5, which count as 1.5 vectors.

    Transforms are of vectors of 8 lanes, which count as halves.
    """
    found = layer(6, 5, 14)
    tile = WinogradTile(2, 45, 4)

    units = dict(work(found, WeightCounts(found.layer.weight, 1), tile, replace(TARGET.cpu, l2_bytes=1 << 20)))

    loop, narrow = Loop("dense", (1, 1), 2, 4), Loop("dense", (1, 1), 1, 4)
    transforms = 7 * (5 + 6)
    expected = {
        (loop, STEP): pytest.approx(2 * 16 * 2 * 5 + transforms * TRANSFORM_FMAS / 2 / 8),
        (narrow, STEP): -16 * 2 * 5 / 2,
        (loop, START): 2 * 16 * 2,
        "tile_ns": 2,
        "call_ns": 1,
        "weight_kib_ns": 4 * 16 * 5 * 8 / 1024,
    }
    assert {key: n for key, n in units.items() if n} == expected
