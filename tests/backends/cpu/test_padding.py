"""Padding in every mode and by every kind of value, against ONNX Runtime."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from edgesparse_runtime import Model
from onnx import helper

import edgesparse
from edgesparse import reference

PADS = [2, 1, 0, 2, 0, 1]
MODES = ("constant", "edge", "reflect")
FEEDS = {
    name: np.arange(24).reshape(3, 2, 4).astype(name) + 1
    for name in ("float16", "float32", "float64", "int32", "int64", "int8", "uint8")
}


def old(name, mode):
    """Below opset 11 the value is an attribute, whatever the tensor's type."""
    return helper.make_node("Pad", [name], [f"{name}_{mode}"], mode=mode, pads=PADS, value=3.0)


def computed(name, mode):
    return helper.make_node("Pad", [name, "pads", f"value_{name}"], [f"{name}_{mode}"], mode=mode)


@pytest.mark.parametrize(("opset", "pad"), [(10, old), (13, computed), (19, computed)], ids=["10", "13", "19"])
def test_every_mode_is_right_whatever_the_value_is(opset, pad, tmp_path):
    feeds = {name: array for name, array in FEEDS.items() if opset > 10 or name.startswith("float")}
    nodes = [pad(name, mode) for name, mode in product(feeds, (*MODES, "wrap") if opset == 19 else MODES)]
    if pad is computed:
        feeds |= {f"value_{name}": np.array(7, array.dtype) for name, array in feeds.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in nodes]
    amounts = onnx.numpy_helper.from_array(np.array(PADS), "pads")
    graph = helper.make_graph(nodes, "padding", inputs, outputs, [amounts])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(proto, tmp_path / "model.onnx")

    artifact = edgesparse.compile(tmp_path / "model.onnx", output=tmp_path / "model.esp", witness=False).artifact

    with Model(artifact) as opened:
        found = opened.run(feeds)
    for name, array in reference.evaluate(proto, feeds).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
