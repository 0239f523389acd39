"""The schedule takes the sparse kernel where it pays, and says why."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgesparse.devices import targets
from edgesparse.forms.cut import runs, tile_count, tile_width
from edgesparse.forms.tiled import TiledTile
from edgesparse.graph.ops import graph_of
from edgesparse.numerics import F32
from edgesparse.schedule import plan

TARGETS = ["x86-64-v3", "x86-64-v4", "rpi3", "rpi4", "rpi5", "rpi4-32bit", "android-arm64"]


def convolution(m: int, k: int, size: int, density: float, window: int = 1) -> ir.Model:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((m, k, window, window)).astype(np.float32)
    w[rng.random(w.shape) >= density] = 0
    pads = [window // 2] * 4
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=pads)],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, k, size, size))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(helper.make_model(graph)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("density", "kernel"), [(0.0, "sparse"), (0.1, "sparse"), (1.0, "dense")])
def test_density_decides(target, density, kernel):
    chosen = plan(graph_of(convolution(256, 256, 14, density, window=3)), targets.load(target)).layers["conv"]

    assert chosen.kernel == kernel
    assert (chosen.density < chosen.break_even) == (kernel == "sparse")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("m", "k", "size"), [(1, 1, 1), (7, 3, 9), (64, 64, 56), (512, 512, 7), (16, 8, 112)])
def test_a_tile_fits_the_machine(target, m, k, size):
    """Accumulators fit the registers, sparse indices fit uint16, and the tiles cover the plane exactly."""
    machine = targets.load(target)
    for density in (0.1, 1.0):
        model = convolution(m, k, size, density, window=3)
        layer = graph_of(model).weighted[0].layer
        tile = plan(graph_of(model), machine).layers["conv"].tile
        if not isinstance(tile, TiledTile):
            continue

        first, *last = runs(layer.plane, tile.vectors, machine.cpu.lanes(F32))
        tiles = tile_count(layer.plane, tile.vectors, machine.cpu.lanes(F32))
        covered = first.size * (tiles - len(last)) + sum(run.size for run in last)

        assert covered == layer.plane.n
        assert first.vectors(machine.cpu.lanes(F32)) * tile.rows < machine.cpu.registers
        assert tile.k_block * tile_width(layer.plane, tile.vectors, machine.cpu.lanes(F32)) <= 1 << 16 or density == 1.0
        assert 1 <= tile.splits <= max(m, 1)


def test_every_core_gets_a_tile():
    """A 7x7 map is a single tile: the rows are split instead."""
    machine = targets.load("rpi4")
    model = convolution(512, 512, 7, 0.1)
    layer = graph_of(model).weighted[0].layer

    tile = plan(graph_of(model), machine).layers["conv"].tile

    assert tile_count(layer.plane, tile.vectors, machine.cpu.lanes(F32)) * tile.splits >= machine.cpu.cores
