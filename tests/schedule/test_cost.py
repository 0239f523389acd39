"""Work is counted exactly, costs what the cost table says, and is fitted back from measured times."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse.devices import targets
from edgesparse.devices.costs import Costs, CostTable, Loop, LoopCost
from edgesparse.errors import MeasureError
from edgesparse.forms import FORMS
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.work import START, STEP
from edgesparse.graph.ops import Weighted, graph_of
from edgesparse.pipeline.trial_model import experiment_model
from edgesparse.schedule import experiments, fit_experiments
from edgesparse.schedule.choose import plan_layer
from edgesparse.schedule.cost import SHARED_KIB_NS, time_us, work
from edgesparse.schedule.estimate import estimate

TARGET = replace(targets.load("rpi4"), cost_table=None)  # four lanes, 32 KiB of L1, 1 MiB of L2


def layer(w: np.ndarray, n: int, follower: str = "") -> Weighted:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    if follower:
        nodes.append(helper.make_node(follower, ["y"], ["z"]))
    shape = (1, w.shape[1], n)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z" if follower else "y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w[:, :, None].astype(np.float32), "w")],
    )
    (found,) = graph_of(ir.from_proto(onnx.shape_inference.infer_shapes(helper.make_model(graph)))).weighted
    return found


def count(found: Weighted, tile: Tile):
    return dict(work(found, WeightCounts(found.layer.weight, 1), tile, TARGET.cpu))


def test_work_of_a_sparse_candidate_is_what_a_hand_counts():
    """Rows with 3, 1 and 2 nonzeros over K = 8, in two K blocks; 19 columns in tiles of 8, 8 and 3."""
    w = np.zeros((3, 8))
    w[0, [0, 1, 6]] = w[1, 3] = w[2, [4, 7]] = 1

    units = count(layer(w, 19), SparseTile(2, 4))

    two, one = Loop("sparse", (1, 1), 2, 1), Loop("sparse", (1, 1), 1, 1)
    expected = {
        (two, STEP): 2 * 6,
        (two, START): 2 * 3 * 2,
        (one, STEP): 6,
        (one, START): 3 * 2,
        "pack_row_ns": 3 * 8,
        "pack_vector_ns": 8 * (2 + 2 + 1),
        "partial_vector_ns": 3 * (2 + 2 + 1),
        "store_piece_ns": 3 * 2,
        "tile_ns": 3,
        "call_ns": 1,
        "weight_kib_ns": 6 * 6 / 1024,
    }
    assert {key: n for key, n in units.items() if n} == expected


def test_work_of_a_dense_candidate_is_what_a_hand_counts():
    units = count(layer(np.ones((5, 8)), 8, "Gelu" if onnx.defs.onnx_opset_version() >= 20 else "Sigmoid"), DENSE)

    loop = Loop("dense", (1, 1), 2, 2)
    expected = {
        (loop, STEP): 8 * 3,
        (loop, START): 3,
        "pack_row_ns": 8,
        "pack_vector_ns": 8 * 2,
        "activation_vector_ns": 5 * 2,
        "tile_ns": 1,
        "call_ns": 1,
        "weight_kib_ns": 4 * 8 * 6 / 1024,
    }
    assert {key: n for key, n in units.items() if n} == expected


DENSE = DenseTile(2, 8, rows=2)


def test_time_is_counts_times_costs_and_threads_wait_for_the_busiest():
    loop = Loop("sparse", (1, 1), 2, 1)
    costs = Costs(**{field.name: 0.0 for field in fields(Costs)} | {"call_ns": 1000.0})
    known = CostTable("t", "measured", "s", costs, {loop: LoopCost(10.0, 100.0)})
    units = {(loop, STEP): 300.0, (loop, START): 60.0, "call_ns": 1}

    assert time_us(units, known) == pytest.approx(1 + 9)
    assert time_us(units, known, share=2 / 3) == pytest.approx(1 + 9 * 2 / 3)
    again = units | {"weight_again_kib_ns": 1000.0}
    assert time_us(again, known, share=0.5) == pytest.approx(1 + (9 + SHARED_KIB_NS) / 2)
    assert time_us({(replace(loop, vectors=3), STEP): 1.0}, known) is None


@pytest.mark.parametrize(("origin", "share"), [("measured", 0.95), ("estimated", 0.8)])
def test_predicted_times_and_the_break_even_belong_together(origin, share):
    """At the break-even density a layer takes 5 % less time sparse than dense, 20 % less where costs are estimated."""
    rng = np.random.default_rng(0)
    known = replace(estimate(TARGET), origin=origin)
    w = rng.standard_normal((64, 64))
    w[rng.random(w.shape) >= 0.3] = 0

    first = plan_layer(layer(w, 196), TARGET.cpu, known)
    dense = np.where(rng.random(w.shape) < first.break_even, 1.0, 0.0)
    at_break_even = plan_layer(layer(dense, 196), TARGET.cpu, known)

    assert first.kernel == "sparse" and first.sparse_us < first.dense_us
    assert at_break_even.sparse_us == pytest.approx(share * at_break_even.dense_us, rel=0.05)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.8, 1.0])
def test_the_kernel_predicted_to_be_clearly_faster_is_chosen(density):
    rng = np.random.default_rng(0)
    w = np.where(rng.random((32, 96)) < density, rng.standard_normal((32, 96)), 0.0)

    chosen = plan_layer(layer(w, 100), TARGET.cpu, estimate(TARGET))

    wins = chosen.sparse_us < 0.8 * chosen.dense_us and density < 1
    assert chosen.kernel == ("sparse" if wins else "dense")
    assert chosen.predicted_us == (chosen.sparse_us if wins else chosen.dense_us)
    assert chosen.origin == "estimated"


def test_every_core_has_a_tile_where_rows_allow():
    machine = targets.load("rpi4")
    found = layer(np.ones((64, 64)), 16)

    tile = plan_layer(found, machine.cpu, estimate(machine)).tile

    assert tile.busiest_share(found.layer, machine.cpu, machine.cpu.cores) <= 0.3


@pytest.mark.parametrize(
    ("n", "vectors", "splits", "threads", "share"),
    [
        (196, 7, 1, 2, 112 / 196),  # 112 and 84
        (196, 6, 1, 2, 100 / 196),  # 96 and 100: a rest of 4 joins the tile before
        (196, 4, 1, 2, 132 / 196),  # 64 and 64, then 68
        (196, 4, 2, 2, 1 / 2),
        (49, 3, 1, 2, 1.0),
        (49, 3, 1, 1, 1.0),
        (49, 1, 1, 2, 33 / 49),  # 16, 16 and 17: the first to be free takes the last
        (33, 1, 3, 4, 33 / 99),  # 16 three times, then 17 three times
    ],
)
def test_the_busiest_thread_has_what_a_hand_deals_out(n, vectors, splits, threads, share):
    cpu = targets.load("x86-64-v4").cpu
    tile = DenseTile(vectors, 8, rows=2, splits=splits)

    found = layer(np.ones((64, 8)), n).layer

    assert tile.busiest_share(found, cpu, threads) == pytest.approx(share)


def test_fit_finds_the_costs_that_times_were_made_with():
    """Times made from known costs, with 2 % of noise: what is predicted then is as near."""
    tried = experiments(TARGET.cpu)
    model = experiment_model(tried)
    known = {found.layer.name: found for found in graph_of(model).weighted}
    truth = estimate(replace(TARGET, cpu=replace(TARGET.cpu, clock_hz=3_000_000_000)))
    rng = np.random.default_rng(0)
    times_us = {}
    for experiment in tried:
        found = known[experiment.name]
        units = work(found, WeightCounts(found.layer.weight, 1), experiment.tile, TARGET.cpu)
        times_us[experiment.name] = time_us(units, truth) * rng.uniform(0.98, 1.02)

    fitted = fit_experiments(model, tried, times_us, TARGET, "a test", "a CPU")

    assert fitted.within_20_percent == 1.0
    assert all(0.93 < ratio < 1.07 for ratio in fitted.ratios.values())
    assert set(fitted.cost_table.loops) >= {loop for form in FORMS for loop in form.loops(TARGET.cpu)}
    assert (fitted.cost_table.origin, fitted.cost_table.machine) == ("measured", "a CPU")


@pytest.mark.parametrize("got", [None, 0.0, -1.0, float("nan")])
def test_a_measurement_that_is_missing_or_none_is_refused(got):
    tried = experiments(TARGET.cpu)[:2]
    times_us = {tried[0].name: 1.0} | ({} if got is None else {tried[1].name: got})

    with pytest.raises(MeasureError, match=r"times.json: step 'dense_.*expected microseconds; remedy:"):
        fit_experiments(experiment_model(tried), tried, times_us, TARGET, "times.json", "")
