"""Values that stay in tiles between layers: the outputs are ONNX Runtime's, and only what may stays so."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

from edgesparse.graph.layout import Tiles
from tests.backends.cpu.executor import HOST, key, load_calls, run_calls, run_image, with_cpu
from tests.backends.cpu.planned import lowered_by
from tests.backends.cpu.single import random, runnable_targets
from tests.backends.cpu.test_weighted import TILED, judge, model_of, sparse_random


def bottlenecks(size, last="Relu"):
    """Two residual blocks and a head: conv1 of each block reads what the block before added up."""
    x = random((1, 8, *size))
    constants = {f"w{i}": sparse_random(shape, 0.4) for i, shape in enumerate([(8, 8, 3, 3), (13, 8, 1, 1)] * 2)}
    constants |= {"w2": sparse_random((8, 13, 1, 1), 0.4), "w4": sparse_random((9, 13, 1, 1), 0.4)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="window", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w1"], ["b"], name="expand1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="reduce"),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Conv", ["d", "w3"], ["e"], name="expand2"),
        helper.make_node("Add", ["e", "b"], ["f"], name="add"),
        helper.make_node("Conv", ["f", "w4"], ["g"], name="head"),
        helper.make_node(last, ["g"], ["y"], name="last"),
    ]
    return model_of(nodes, {"x": x}, constants), {"x": x}


def in_tiles(proto, target, tiles):
    """Values that lie in tiles when layers run by these plans, and the calls."""
    lowered = lowered_by(ir.from_proto(proto), tiles, target)
    return {w.name for call in lowered.calls for w in call.writes if isinstance(w.layout, Tiles)}, lowered


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("tile", TILED)
def test_blocks_whose_values_stay_in_tiles_match(target, tile):
    models = [bottlenecks(size) for size in ((1, 2), (3, 11), (10, 13))]
    found = [in_tiles(proto, target, lambda _: tile) for proto, _ in models]
    image = load_calls([call for _, lowered in found for call in lowered.calls], target)

    for (proto, inputs), (names, lowered) in zip(models, found, strict=True):
        assert names == {"a", "b", "d", "f"}
        expected = judge(proto, inputs)
        for inplace in (False, True):
            actual = run_image(image, lowered.calls, inputs, inplace=inplace)[key(lowered.outputs["y"])]
            np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("odd", ["window", "expand1", "reduce", "expand2", "head"])
def test_layers_that_cut_otherwise_exchange_values_as_onnx_lays_them_out(odd):
    """A residual may lie otherwise than the output it is added to."""
    proto, inputs = bottlenecks((10, 13))
    tile, other = TILED[3], TILED[4]

    names, lowered = in_tiles(proto, HOST, lambda name: other if name == odd else tile)

    assert 0 < len(names) < 4
    actual = run_calls(lowered.calls, inputs, HOST)[key(lowered.outputs["y"])]
    np.testing.assert_allclose(actual.reshape(judge(proto, inputs).shape), judge(proto, inputs), rtol=1e-4, atol=1e-4)


def test_a_value_that_another_operator_reads_lies_as_onnx_lays_it_out():
    x = random((1, 6, 9, 7))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="one"),
        helper.make_node("Conv", ["a", "v"], ["b"], name="two"),
        helper.make_node("Mul", ["a", "b"], ["y"], name="mul"),
    ]
    constants = {"w": sparse_random((6, 6, 1, 1), 0.5), "v": sparse_random((6, 6, 1, 1), 0.5)}

    names, _ = in_tiles(model_of(nodes, {"x": x}, constants), HOST, lambda _: TILED[3])

    assert names == set()


def test_a_large_output_and_its_residual_lie_alike():
    """Else the output could not be written over the residual, and would be memory that no cache holds."""
    x = random((1, 8, 256, 256))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="one"),
        helper.make_node("Conv", ["a", "v"], ["b"], name="two"),
        helper.make_node("Add", ["b", "a"], ["y"], name="add"),
    ]
    constants = {"w": sparse_random((8, 8, 1, 1), 0.5), "v": sparse_random((8, 8, 1, 1), 0.5)}

    names, _ = in_tiles(model_of(nodes, {"x": x}, constants), with_cpu(HOST, l2_bytes=1 << 20), lambda _: TILED[3])

    assert names == set()


@pytest.mark.parametrize("is_linear", [False, True])
@pytest.mark.parametrize("n", [2, 7, 8, 9, 33, 100])
def test_exposed_values_are_read_out_of_tiles(n, is_linear):
    """By the kernels that ship: each value that lies in tiles is an output besides, as ONNX Runtime has it."""
    shape = (n, 8) if is_linear else (1, 8, 1, n)
    x = random(shape)
    op = "MatMul" if is_linear else "Conv"
    sizes = {"w": (8, 13), "v": (13, 5)} if is_linear else {"w": (13, 8, 1, 1), "v": (5, 13, 1, 1)}
    nodes = [helper.make_node(op, ["x", "w"], ["a"], name="one"), helper.make_node(op, ["a", "v"], ["y"], name="two")]
    proto = model_of(nodes, {"x": x}, {name: sparse_random(size, 0.5) for name, size in sizes.items()})

    shipped, exposed = (
        lowered_by(ir.from_proto(proto), lambda _: TILED[3], HOST, expose=expose) for expose in (False, True)
    )

    proto.graph.output.append(helper.make_tensor_value_info("a", 1, None))
    expected = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kernels = {call.kernel.symbol for call in exposed.calls}
    assert {call.kernel.symbol for call in shipped.calls} < kernels
    assert any(isinstance(write.layout, Tiles) for call in shipped.calls for write in call.writes)
    results = run_calls(exposed.calls, {"x": x})
    for name, array in zip(("y", "a"), expected.run(None, {"x": x}), strict=True):
        actual = results[key(exposed.outputs[name])].reshape(exposed.outputs[name].shape)
        np.testing.assert_allclose(actual.reshape(array.shape), array, rtol=1e-4, atol=1e-5)
