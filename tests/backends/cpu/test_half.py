"""Kernels of float16 on the emulated core that has it, judged by numpy in float64 on what they read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesparse import schedule
from edgesparse.backends.cpu.walk import lower_ops
from edgesparse.devices import targets
from edgesparse.forms import candidates
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.graph.ops import Graph, graph_of
from edgesparse.numerics import HALF, HALF_OF_COLUMN, ROUNDED_TO_HALF
from edgesparse.plan import LayerPlan
from tests.backends.cpu.emulated import run_emulated

RPI5 = targets.load("rpi5")
TOLERANCE = ROUNDED_TO_HALF.absolute


@dataclass(frozen=True)
class Case:
    """relu(w @ x + b + r) of a convolution of `side`^2 outputs, or with a side of 0 of a single column."""

    m: int
    channels: int
    side: int = 0
    window: int = 1
    density: float = 1.0
    residual: bool = True
    ones: bool = False

    def graph(self) -> Graph:
        rng = np.random.default_rng(3)
        taps = (self.window, self.window) if self.side else ()
        w = rng.standard_normal((self.m, self.channels, *taps)).astype(np.float16)
        w[rng.random(w.shape) >= self.density] = 0
        w = np.ones_like(w) if self.ones else w
        x, y = [1, self.channels, *[self.side] * len(taps)], [1, self.m, *[self.side] * len(taps)]
        op, stored = ("Conv", w) if self.side else ("MatMul", np.ascontiguousarray(w.T))
        how = {"pads": [self.window // 2] * 4} if self.side else {}
        b = rng.standard_normal((self.m, *[1] * len(taps))).astype(np.float16)
        nodes = [helper.make_node(op, ["x", "w"], ["p"], "layer", **how), helper.make_node("Add", ["p", "b"], ["q"])]
        nodes += [helper.make_node("Add", ["q", "r"], ["s"])] if self.residual else []
        nodes.append(helper.make_node("Relu", ["s" if self.residual else "q"], ["y"]))
        of = TensorProto.FLOAT16
        given = [("x", x)] + ([("r", y)] if self.residual else [])
        graph = helper.make_graph(
            nodes,
            "half",
            [helper.make_tensor_value_info(name, of, shape) for name, shape in given],
            [helper.make_tensor_value_info("y", of, y)],
            [numpy_helper.from_array(stored, "w"), numpy_helper.from_array(b, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return graph_of(ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True)))

    def feeds(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(4)
        tail = (self.side, self.side) if self.side else ()
        shapes = {"x": (1, self.channels, *tail)} | ({"r": (1, self.m, *tail)} if self.residual else {})
        draw = np.ones if self.ones else rng.standard_normal
        return {name: draw(shape).astype(np.float16) for name, shape in shapes.items()}

    def expected(self, graph: Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """In float64, from the numbers that the kernel reads."""
        op = graph.weighted[0]
        w, pad = op.layer.filters.astype(np.float64), self.window // 2
        x = feeds["x"].astype(np.float64)
        if self.side:
            x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
            y = np.einsum("mcij,bchwij->bmhw", w, seen) + op.fusion.bias.astype(np.float64)[:, None, None]
        else:
            y = x @ w + op.fusion.bias.astype(np.float64)
        return np.maximum(y + feeds.get("r", np.zeros(())).astype(np.float64), 0)


def tiles_of(graph: Graph) -> dict[tuple[str, bool], list[Tile]]:
    """The candidates by form, and whether they add up several blocks of K."""
    layer, found = graph.weighted[0].layer, dict[tuple[str, bool], list[Tile]]()
    for tile in candidates(layer, WeightCounts(layer.weight, layer.plane.groups), RPI5.cpu):
        found.setdefault((tile.form, tile.k_block < layer.plane.k), []).append(tile)
    return found


def error_of(case: Case, graph: Graph, tile: Tile, folder) -> float:
    """The largest error over the largest value that is expected."""
    layer, feeds = graph.weighted[0].layer, case.feeds()
    sizes = layer.plane.m, layer.plane.k, layer.plane.n
    plan = LayerPlan(layer.name, "", *sizes, layer.numerics, layer.density, tile, 1.0, "given")
    lowered = lower_ops(schedule.arrange(graph, {layer.name: plan}, RPI5.cpu), RPI5)
    values = run_emulated(lowered.calls, feeds, RPI5, folder)
    got, expected = values["y"], case.expected(graph, feeds)
    assert got.dtype == np.float16
    return float(np.abs(got.astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-9))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loader")


CASES = (
    Case(9, 33, 7, density=0.1),
    Case(8, 300, 7, density=0.5),
    Case(7, 40, 9, 3, density=0.3, residual=False),
    Case(33, 9, 8, density=0.0),
    Case(1, 1, 1),
    Case(9, 300),
    Case(33, 129, density=0.2),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form_is_near(case: Case, folder):
    graph = case.graph()
    layer = graph.weighted[0].layer

    assert layer.numerics == (HALF_OF_COLUMN if layer.is_vector else HALF)
    for (form, _), tiles in tiles_of(graph).items():
        for tile in {tiles[0], tiles[-1]}:
            assert error_of(case, graph, tile, folder) < TOLERANCE, (form, tile.name)


def test_long_sums_are_added_up_in_float32(folder):
    """Of ones, 4096 of them: float16 alone stops at 2048."""
    case = Case(8, 4096, 3, residual=False, ones=True)
    graph = case.graph()

    for (form, _), tiles in tiles_of(graph).items():
        assert error_of(case, graph, tiles[0], folder) < 1e-3, form


def test_no_block_holds_more_products_than_may_be_summed():
    layer = Case(16, 700, 9, density=0.4).graph().weighted[0].layer
    weight = WeightCounts(layer.weight, 1)
    found = [tile for tile in candidates(layer, weight, RPI5.cpu) if tile.form == "sparse"]

    assert found
    for tile in found:
        for start in range(0, 700, tile.k_block):
            counts = np.count_nonzero(layer.weight[:, start : start + tile.k_block], axis=1)
            assert counts.max() <= HALF.most_products
