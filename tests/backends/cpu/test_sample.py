"""Sampling and scattering against ONNX Runtime: many forms in a model, and what compiling costs."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import onnx
import pytest
from edgesparse_runtime import Model
from onnx import helper

import edgesparse
from edgesparse import reference
from tests.backends.cpu.single import random

RNG = np.random.default_rng(0)


def model_of(nodes, feeds):
    def info(name, array):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in nodes]
    graph = helper.make_graph(nodes, "g", [info(*feed) for feed in feeds.items()], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def compiled(nodes, feeds, tmp_path):
    """What the runtime computes of the nodes' outputs, and the seconds of CPU that compiling took."""
    onnx.save(model_of(nodes, feeds), tmp_path / "model.onnx")
    began = time.process_time()
    artifact = edgesparse.compile(tmp_path / "model.onnx", output=tmp_path / "model.esp", witness=False).artifact
    seconds = time.process_time() - began
    with Model(artifact) as opened:
        return opened.run(feeds), seconds


def sampled(mode, padding, aligned, image):
    said = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    name = "_".join((mode, padding, str(aligned), image))
    return helper.make_node("GridSample", [image, f"grid_{image}"], [name], **said)


def test_every_sampling_is_right_and_compiles_in_bounded_time(tmp_path):
    flat, deep = ("zeros", "border", "reflection"), ("flat", "deep")
    forms = [*product(("linear", "nearest"), flat, (0, 1), deep), *product(("cubic",), flat, (0, 1), deep[:1])]
    nodes = [sampled(*form) for form in forms]
    feeds = {
        "flat": random((2, 3, 5, 7)),
        "grid_flat": RNG.uniform(-3, 3, (2, 3, 9, 2)).astype(np.float32),
        "deep": random((2, 3, 1, 4, 5)),
        "grid_deep": RNG.uniform(-3, 3, (2, 2, 3, 4, 3)).astype(np.float32),
    }

    got, seconds = compiled(nodes, feeds, tmp_path)

    assert seconds < 60
    for name, array in reference.evaluate(model_of(nodes, feeds), feeds).items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_half_precision_is_sampled_as_single_precision_is(tmp_path):
    nodes = [sampled(mode, "reflection", 0, "x") for mode in ("linear", "nearest", "cubic")]
    nodes.append(helper.make_node("RoiAlign", ["x", "corners", "images"], ["regions"], spatial_scale=0.25))
    single = {"x": random((1, 2, 4, 3)), "grid_x": np.float32([[[[-2, 0.5], [1.25, 3]]]])}
    single |= {"corners": np.float32([[1, 2, 9, 11]]), "images": np.zeros(1, np.int64)}
    half = {name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in single.items()}

    got, _ = compiled(nodes, half, tmp_path)

    for name, array in reference.evaluate(model_of(nodes, single), single).items():
        np.testing.assert_allclose(got[name].astype(np.float32), array, rtol=2e-2, atol=2e-2, err_msg=name)


def test_every_region_is_right_and_compiles_in_bounded_time(tmp_path):
    ways, scales, ratios = ("half_pixel", "output_half_pixel"), (1.0, 0.5), (0, 1, 3)
    nodes = []
    for way, scale, ratio in product(ways, scales, ratios):
        said = {"coordinate_transformation_mode": way, "spatial_scale": scale, "sampling_ratio": ratio}
        name = f"{way}_{scale}_{ratio}"
        operands = ["x", "corners", "images"]
        nodes.append(helper.make_node("RoiAlign", operands, [name], output_height=2, output_width=3, **said))
    regions = [[0, 0, 6, 6], [2.5, 1, 13, 11], [-1, 3, 4, 20], [3, 3, 3.2, 3.1], [4, 4, 2, 2]]
    feeds = {"x": random((2, 3, 9, 7)), "corners": np.float32(regions), "images": np.array([0, 1, 1, 0, 1])}

    got, seconds = compiled(nodes, feeds, tmp_path)

    assert seconds < 20
    for name, array in reference.evaluate(model_of(nodes, feeds), feeds).items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


SCATTERED = [(2, 3, 5), (1, 3, 5), (2, 2, 5), (2, 3, 1), (1, 1, 4), (2, 2, 2)]


@pytest.mark.parametrize("dtype", ["float32", "uint64", "int8"])
def test_scattering_fewer_elements_than_an_axis_has(dtype, tmp_path):
    reductions = ("none", "add", "mul", "max", "min")
    feeds = {"x": (4 * RNG.random((2, 3, 5))).astype(dtype)}
    nodes = []
    for number, (shape, axis) in enumerate(product(SCATTERED, (0, 1, -1))):
        places = [RNG.permuted(np.arange(-size, 0), axis=0) for size in (2, 3, 5)][axis][: shape[axis]]
        column = [-1 if at == axis % 3 else 1 for at in range(3)]
        feeds[f"i{number}"] = np.broadcast_to(places.reshape(column), shape).astype(np.int64)
        feeds[f"u{number}"] = (4 * RNG.random(shape)).astype(dtype)
        operands, reduction = ["x", f"i{number}", f"u{number}"], reductions[number % 5]
        nodes.append(helper.make_node("ScatterElements", operands, [f"y{number}"], axis=axis, reduction=reduction))

    got, _ = compiled(nodes, feeds, tmp_path)

    for name, array in reference.evaluate(model_of(nodes, feeds), feeds).items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_grids_of_every_size_are_right(tmp_path):
    """One place between aligned corners too, where the definition divides by zero."""
    feeds, nodes = {}, []
    for at, sizes in enumerate(([2, 1, 1, 4], [2, 1, 4, 1], [2, 1, 1, 1], [2, 1, 3, 5], [2, 1, 1, 3, 2])):
        feeds[f"theta{at}"] = random((2, len(sizes) - 2, len(sizes) - 1))
        nodes.append(helper.make_node("Constant", [], [f"sizes{at}"], value_ints=sizes))
        for aligned in (0, 1):
            name = f"grid{at}_{aligned}"
            nodes.append(helper.make_node("AffineGrid", [f"theta{at}", f"sizes{at}"], [name], align_corners=aligned))

    got, _ = compiled(nodes, feeds, tmp_path)

    for name, array in reference.evaluate(model_of(nodes, feeds), feeds).items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
