"""What runs is what was planned: the kernels of an artifact are those of the plan, and the plan prices all of them."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
import pytest

from edgesparse import frontend, schedule
from edgesparse.backends import cpu
from edgesparse.backends.cpu import supports
from edgesparse.devices import targets
from edgesparse.graph.ops import Depthwise, Weighted, graph_of
from edgesparse.prune import prune
from tools.hashes.graphs import GRAPHS

BOARDS = ("rpi4", "x86-64-v3")


def normal(name: str, folder, density: float = 1.0) -> ir.Model:
    model = frontend.read(GRAPHS[name].write(folder / f"{name}.onnx"))
    model = prune(model, density).model if density < 1 else model
    return frontend.load(model, None, supports=supports)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(("name", "density"), [("expanding", 1.0), ("separable", 0.2), ("transformer", 1.0)])
def test_the_kernels_are_those_of_the_plan(name, density, board, tmp_path):
    target = targets.load(board)
    plan = schedule.plan(graph_of(normal(name, tmp_path, density)), target)

    program = cpu.lower(plan, target)

    steps = {step.name: step for step in program.steps}
    assert plan.layers
    for layer, chosen in plan.layers.items():
        kernel = steps[layer].kernel
        assert chosen.kernel in kernel
        assert kernel.startswith("es_vector_") or chosen.tile.name in kernel
        assert (steps[layer].op.count("Conv") == 2) == bool(chosen.joined)
    for op in plan.graph.ops:
        if isinstance(op, Depthwise):
            assert (op.name in steps) == (op not in plan.joined.values())


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_op_has_a_price(name, board, tmp_path):
    plan = schedule.plan(graph_of(normal(name, tmp_path)), targets.load(board))

    call_us = schedule.cost_table(targets.load(board)).costs.call_ns / 1e3
    others = [op for op in plan.graph.ops if not isinstance(op, Weighted)]
    assert set(plan.op_us) == set(others)
    for op, us in plan.op_us.items():
        assert us == 0 if getattr(op, "is_view", False) else us > (0 if op in plan.joined.values() else call_us)
    assert plan.predicted_us == pytest.approx(
        sum(plan.op_us.values()) + sum(layer.predicted_us for layer in plan.layers.values())
    )


def test_a_joined_layer_says_so_and_its_ranges_cost_what_they_cost(tmp_path):
    """It packs its input again for every range; its output is neither written to far memory nor read from there."""
    target = targets.load("rpi4")
    graph = graph_of(normal("expanding", tmp_path))

    plan = schedule.plan(graph, target)

    (name,) = plan.joined
    joined = plan.layers[name]
    assert joined.joined == plan.joined[name].name
    assert f"in one kernel with {joined.joined!r}" in joined.reason and "12 splits" in joined.choice
    assert joined.predicted_us == joined.joined_us < joined.dense_us
    near = replace(target, cpu=replace(target.cpu, l2_bytes=1 << 26))  # which holds all values
    alone = schedule.plan(graph, near).layers[name]
    assert not alone.joined and alone.predicted_us == alone.dense_us < joined.joined_us


def test_values_stay_in_tiles_only_where_asked(tmp_path):
    graph, target = graph_of(normal("separable", tmp_path)), targets.load("x86-64-v3")
    layers = schedule.plan(graph, target).layers

    apart = schedule.arrange(graph, layers, target.cpu, tile=False, join=False)

    assert schedule.arrange(graph, layers, target.cpu).tiled and not apart.tiled and not apart.joined
