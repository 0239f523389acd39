"""Weighted layers, dense and sparse, compute what ONNX Runtime computes, at every tile and vector width."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.narrow import NarrowTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Tile
from edgesparse.numerics import F32
from edgesparse.program import Constant
from tests.backends.cpu.executor import HOST, key, load_calls, run_image
from tests.backends.cpu.planned import lowered_by
from tests.backends.cpu.single import random, runnable_targets

DENSE = [DenseTile(4, 64, 6), DenseTile(2, 1000, 4, splits=2), DenseTile(1, 7, 5, splits=3)]
SPARSE = [
    SparseTile(4, 64),
    SparseTile(3, 1000, splits=2),
    SparseTile(8, 7, splits=3),
    SparseTile(2, 1000, 4),
    SparseTile(3, 16, 8, splits=2, block=(4, 1)),
    SparseTile(2, 7, 4, splits=3, block=(2, 1)),
    SparseTile(7, 64, chunk=4),
    SparseTile(4, 16, 8, splits=2, block=(4, 1), chunk=4),
    SparseTile(3, 1000, 2, chunk=2),
]
NARROW = [NarrowTile(2, 64, columns=1), NarrowTile(1, 7, splits=3, columns=1)]
TILED = [*DENSE, *SPARSE]  # which read x from tiles
TILES = [*TILED, *NARROW]


@dataclass(frozen=True)
class Conv:
    """A convolution case; sizes straddle vector widths on purpose."""

    x: tuple[int, ...]
    m: int
    kernel: tuple[int, ...]
    group: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def w(self) -> tuple[int, ...]:
        return (self.m, self.x[1] // self.group, *self.kernel)


CONVOLUTIONS = [
    Conv((1, 6, 7, 7), 9, (1, 1)),
    Conv((2, 5, 9, 11), 7, (3, 3), attributes={"pads": [1, 1, 1, 1]}),
    Conv((1, 5, 9, 33), 7, (3, 3), attributes={"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Conv((2, 6, 17, 40), 14, (3, 2), 2, {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 2, 1, 3]}),
    Conv((1, 6, 200), 14, (5,), attributes={"strides": [3], "dilations": [2], "pads": [2, 3]}),
    Conv((1, 6, 8, 7), 9, (1, 1), attributes={"strides": [2, 2]}),
    Conv((1, 3, 30, 70), 9, (7, 7), attributes={"strides": [2, 2], "pads": [3, 3, 3, 3]}),
    Conv((1, 3, 33, 40), 9, (5, 4), attributes={"strides": [5, 4], "pads": [2, 1, 2, 1]}),
    Conv((1, 2, 23, 29), 3, (3, 3), attributes={"strides": [4, 4], "dilations": [3, 2]}),
    Conv((1, 8, 1, 1), 33, (1, 1)),
    Conv((1, 1, 5, 5), 1, (5, 5)),
]


def sparse_random(shape: tuple[int, ...], density: float) -> np.ndarray:
    w = random(shape, seed=1)
    w[np.random.default_rng(2).random(shape) >= density] = 0
    w[len(w) // 2] = 0  # an empty row
    return w


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, np.ndarray], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def judge(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def lowered_with(proto: onnx.ModelProto, target: Target, tile: Tile) -> Lowered:
    """The calls of a model whose layers all run with the given tile."""
    return lowered_by(ir.from_proto(proto), lambda _: tile, target)


def assert_lowered(
    proto: onnx.ModelProto,
    inputs: dict[str, np.ndarray],
    target: Target,
    tile: Tile,
    *,
    steps: int | None = None,
    inplace: tuple[bool, ...] = (False,),
) -> None:
    """Lower with the given tile, run on poisoned buffers, compare with ONNX Runtime."""
    assert_all_lowered([(proto, inputs)], target, tile, steps=steps, inplace=inplace)


def assert_all_lowered(
    models: Sequence[tuple[onnx.ModelProto, dict[str, np.ndarray]]],
    target: Target,
    tile: Tile,
    *,
    steps: int | None = None,
    inplace: tuple[bool, ...] = (False,),
) -> None:
    """`assert_lowered` for models whose kernels are compiled together."""
    lowered = [lowered_with(proto, target, tile) for proto, _ in models]
    image = load_calls([call for each in lowered for call in each.calls], target)
    for (proto, inputs), each in zip(models, lowered, strict=True):
        expected = judge(proto, inputs)
        for shared in inplace:
            results = run_image(image, each.calls, inputs, inplace=shared)
            actual = results[key(each.outputs["y"])].reshape(expected.shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
        if steps is not None:
            assert len(each.calls) == steps, [call.op for call in each.calls]


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("tile", TILES)
def test_convolutions_match(target, tile):
    models = []
    for number, case in enumerate(CONVOLUTIONS):
        x = random(case.x)
        density = (0.0, 0.1, 0.4, 1.0)[number % 4]
        constants = {"w": sparse_random(case.w, density), "b": random((case.m,), seed=3)}
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", group=case.group, **case.attributes)
        models.append((model_of([node], {"x": x}, constants), {"x": x}))

    assert_all_lowered(models, target, tile)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("columns", [2, 3, 4, 5, 7, 8])
def test_lanes_over_channels_match(target, columns):
    """Whole and broken panels, windows, groups, ranges of N of unequal size; y may lie over the residual."""
    tile = NarrowTile(2, 16, splits=2, columns=min(columns, target.cpu.lanes(F32)))
    models = []
    for m, (window, group) in itertools.product((1, 7, 8, 9, 33), ((1, 1), (1, 2), (3, 2))):
        x, r = random((2, 6, 3, 3 * tile.columns)), random((2, 2 * m, 3, 3 * tile.columns), seed=5)
        pads = [window // 2] * 4
        constants = {"w": random((2 * m, 6 // group, window, window), seed=1), "b": random((2 * m,), seed=3)}
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["a"], name="conv", group=group, pads=pads),
            helper.make_node("Add", ["a", "r"], ["s"], name="residual"),
            helper.make_node("Relu", ["s"], ["y"], name="relu"),
        ]
        models.append((model_of(nodes, {"x": x, "r": r}, constants), {"x": x, "r": r}))

    assert_all_lowered(models, target, tile, inplace=(False, True))


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("m", [1, 7, 8, 9, 33])
def test_blocks_along_k_match(target, m):
    x, w = random((1, 8, 9, 7)), sparse_random((m, 8, 3, 3), 0.3)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])

    assert_lowered(model_of([node], {"x": x}, {"w": w}), {"x": x}, target, SparseTile(2, 16, 2, block=(1, 4)))


def test_chunks_of_wide_indices_match():
    """Too many columns of x for short indices, which are what one load brings four of."""
    x, w = random((1, 1100, 8, 8)), sparse_random((7, 1100, 1, 1), 0.1)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    tile = SparseTile(64 // HOST.cpu.lanes(F32), 1100, chunk=4)

    assert_lowered(model_of([node], {"x": x}, {"w": w}), {"x": x}, HOST, tile)


@pytest.mark.parametrize("tile", [DenseTile(2, 16, 4), SparseTile(2, 16)], ids=lambda tile: tile.form)
def test_linear_layers_match_at_every_number_of_rows(tile):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="linear"),
        helper.make_node("Add", ["z", "b"], ["y"], name="bias"),
    ]
    models = []
    for n, density in itertools.product((1, 7, 8, 9, 33), (0.0, 0.1, 1.0)):
        x, constants = random((1, n, 33)), {"w": sparse_random((33, 41), density), "b": random((41,), seed=3)}
        models.append((model_of(nodes, {"x": x}, constants), {"x": x}))

    assert_all_lowered(models, runnable_targets()[1], tile)


def test_the_epilogue_absorbs_bias_residual_and_activation():
    """Conv + constant + tensor + Relu is one call, and the residual may be overwritten."""
    x, r = random((1, 6, 9, 7)), random((1, 6, 9, 7), seed=5)
    constants = {"w": sparse_random((6, 6, 1, 1), 0.5), "c": random((1, 6, 1, 1), seed=4)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Add", ["a", "c"], ["b"], name="shift"),
        helper.make_node("Add", ["r", "b"], ["s"], name="residual"),
        helper.make_node("Relu", ["s"], ["y"], name="relu"),
    ]

    for tile in TILES:
        proto, inplace = model_of(nodes, {"x": x, "r": r}, constants), (False, True)
        assert_lowered(proto, {"x": x, "r": r}, runnable_targets()[1], tile, steps=1, inplace=inplace)


def test_a_gated_sigmoid_is_absorbed():
    x = random((1, 6, 9, 7))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Sigmoid", ["a"], ["g"], name="gate"),
        helper.make_node("Mul", ["a", "g"], ["y"], name="silu"),
    ]

    proto = model_of(nodes, {"x": x}, {"w": sparse_random((6, 6, 1, 1), 0.5)})

    assert_lowered(proto, {"x": x}, runnable_targets()[1], SparseTile(4, 64), steps=1)


def test_a_value_somebody_else_reads_is_not_absorbed():
    x = random((1, 6, 9, 7))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Add", ["b", "a"], ["y"], name="add"),
    ]

    proto = model_of(nodes, {"x": x}, {"w": sparse_random((6, 6, 1, 1), 0.5)})

    assert_lowered(proto, {"x": x}, runnable_targets()[1], DenseTile(4, 64, 6))


def test_two_linear_layers_share_the_layout_between_them():
    """x is transposed once, the result back once; nothing in between."""
    x = random((1, 9, 33))
    constants = {"w": sparse_random((33, 17), 0.3), "v": sparse_random((17, 41), 0.3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="up"),
        helper.make_node("Gelu", ["a"], ["b"], name="gelu"),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="down"),
    ]

    proto = model_of(nodes, {"x": x}, constants)

    assert_lowered(proto, {"x": x}, runnable_targets()[1], SparseTile(2, 64), steps=4)


def test_layers_that_read_one_window_share_its_planes():
    x = random((1, 6, 9, 7))
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="one", pads=pads),
        helper.make_node("Conv", ["x", "v"], ["b"], name="two", pads=pads),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    constants = {"w": sparse_random((5, 6, 3, 3), 0.3), "v": sparse_random((5, 6, 3, 3), 0.3)}

    proto = model_of(nodes, {"x": x}, constants)

    assert_lowered(proto, {"x": x}, runnable_targets()[1], SparseTile(2, 64), steps=3)


@pytest.mark.parametrize("n", [1, 3, 7, 33, 70])
def test_layer_norm_between_linear_layers_stays_in_columns(n):
    """One transposition in, one out; the normalisation between works on [F, N]."""
    x = random((1, n, 33))
    constants = {
        "w": sparse_random((33, 17), 0.5),
        "v": sparse_random((17, 41), 0.5),
        "scale": random((17,), seed=6),
        "shift": random((17,), seed=7),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="up"),
        helper.make_node("LayerNormalization", ["a", "scale", "shift"], ["b"], name="norm", epsilon=1e-3),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="down"),
    ]

    proto = model_of(nodes, {"x": x}, constants)

    for target in runnable_targets():
        assert_lowered(proto, {"x": x}, target, SparseTile(2, 64), steps=3 if n == 1 else 5)


@pytest.mark.parametrize("form", [DenseTile, SparseTile], ids=lambda form: form.form)
def test_a_classifier_head_reads_a_flattened_map(form):
    """The head reads a view whose memory has another shape and name."""
    x = random((1, 6, 3, 5))
    constants = {"w": sparse_random((6, 1, 3, 3), 1.0), "v": sparse_random((90, 10), 0.5), "s": np.array([1, 90])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="depthwise", group=6, pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "s"], ["b"], name="flatten"),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="head"),
    ]

    proto = model_of(nodes, {"x": x}, constants)

    assert_lowered(proto, {"x": x}, runnable_targets()[1], form(2, 64), steps=2)


@pytest.mark.parametrize(("op", "shape", "w"), [("Conv", (1, 6, 9, 7), (5, 6, 3, 3)), ("MatMul", (7, 6), (6, 5))])
@pytest.mark.parametrize("form", [DenseTile, SparseTile], ids=lambda form: form.form)
def test_every_index_array_is_checked_when_opened(op, shape, w, form):
    """Integers in the weights steer loads: the runtime has to know the range of each."""
    x = random(shape)
    node = helper.make_node(op, ["x", "w"], ["y"], name="layer")
    model = ir.from_proto(model_of([node], {"x": x}, {"w": sparse_random(w, 0.5)}))

    calls = lowered_by(model, lambda _: form(2, 64), runnable_targets()[1]).calls

    arrays = [read for call in calls for read in call.reads if isinstance(read, Constant)]
    integers = [a for a in arrays if a.data.dtype.kind in "iu"]
    assert integers
    for array in integers:
        assert array.bound is not None
        assert int(array.data.max()) <= array.bound.limit
