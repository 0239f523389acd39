"""Attributes and operands that mean nothing are one line: no shape is computed from them."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load
from edgesparse.frontend.attributes import WORDS

POOL = "MaxPool <kernel_shape = [{}], strides = [{}], pads = [{}], dilations = [{}], ceil_mode = {}> (x)"
WRONG = {
    POOL.format("5, 5", "1, 1", "0, 0, 0, 0", "1, 1", 0): "a window of 5 does not fit into the 4 of axis 2",
    POOL.format("5, 5", "4, 4", "0, 0, 0, 0", "1, 1", 0): "a window of 5 does not fit into the 4 of axis 2",
    POOL.format("3, 2", "1, 1", "0, 0, 0, 0", "1, 4", 0): "a window of 5 does not fit into the 4 of axis 3",
    POOL.format("7, 7", "3, 3", "0, 0, 0, 0", "1, 1", 1): "a window of 7 does not fit into the 4 of axis 2",
    POOL.format("2, 2", "0, 1", "0, 0, 0, 0", "1, 1", 0): "strides is [0, 1], expected 2 numbers of 1 or more",
    POOL.format("2, 2", "-1, 1", "0, 0, 0, 0", "1, 1", 0): "strides is [-1, 1]",
    POOL.format("2, 2", "1, 1", "0, 0, 0, 0", "0, 1", 0): "dilations is [0, 1]",
    POOL.format("2, 2", "1, 1", "-1, 0, 0, 0", "1, 1", 0): "pads is [-1, 0, 0, 0], expected 4 numbers of 0 or more",
    POOL.format("2, 2", "1, 1", "2, 0, 0, 0", "1, 1", 0): "pads are [2, 0, 0, 0], expected less than the window",
    POOL.format("2", "1, 1", "0, 0, 0, 0", "1, 1", 0): "kernel_shape is [2], expected 2 numbers of 1 or more",
    "LpPool <kernel_shape = [2, 2], p = 0> (x)": "p is 0, expected 1 or more",
    "AveragePool <kernel_shape = [5, 1], strides = [4, 1]> (x)": "a window of 5 does not fit into the 4 of axis 2",
    "Conv <strides = [4, 4]> (x, window)": "a window of 5 does not fit into the 4 of axis 2",
    "ConvTranspose <output_shape = [0, 1]> (x, taps)": "output_shape is [0, 1], expected 2 sizes of 1 or more",
    "ConvTranspose <output_shape = [5]> (x, taps)": "output_shape is [5], expected 2 sizes of 1 or more",
    "LRN <size = 0> (x)": "size is 0, expected 1 or more",
    "DepthToSpace <blocksize = 3> (x)": "the input [1, 4, 4, 4] does not divide into blocks of 3",
    "SpaceToDepth <blocksize = 3> (x)": "the input [1, 4, 4, 4] does not divide into blocks of 3",
    "GroupNormalization <num_groups = 3> (x, four, four)": "num_groups is 3, expected a divisor of the channels",
    "Transpose <perm = [0, 1, 1, 2]> (x)": "perm is [0, 1, 1, 2], expected each of 0 to 3 once",
    "Split (x, sizes)": "the sizes are [-1, 5], expected 0 or more",
    "Resize (x, , scales)": "scales are [1.0, 1.0, -1.0, 1.0], expected numbers above 0",
    "Reshape (x, target)": "the input has 64 elements, and the shape [4, 2] has 8",
    "Gemm (x, taps)": "expected two dimensions each",
    "CumSum (x, seven)": "the axis is 7, and the input has 4 dimensions",
    "GatherElements (x, wide)": "indices [1, 4, 4, 9] do not fit data [1, 4, 4, 4]",
    "ScatterElements (x, wide, updates)": "indices [1, 4, 4, 9] and updates [1, 4, 4, 9] do not fit data [1, 4, 4, 4]",
    "ScatterND (x, place, four)": "indices [1, 1] and updates [4] do not fit data [1, 4, 4, 4]",
    "ReverseSequence (x, lengths)": "lengths have the shape [3], expected [4]",
    "ReverseSequence <time_axis = 1, batch_axis = 1> (x, lengths)": "time_axis is 1 and batch_axis 1, expected 0 and 1",
    "RotaryEmbedding (x, cache, cache, positions)": "positions have the shape [1, 1], expected [1, 4]",
    "QuantizeLinear (x, three, bytes)": "scales have the shape [3], expected one, or one for each index of axis 1",
    "MatMulInteger (wide_bytes, tall_bytes, bytes)": "zero points of the inputs have the shape [3], expected",
    "MatMulInteger (wide_bytes, tall_bytes, , bytes)": "zero points of the weights have the shape [3], expected",
    "ConvInteger (image_bytes, tap_bytes, , bytes)": "zero points of the weights have the shape [3], expected",
    "DequantizeLinear (wide_bytes, three)": "scales have the shape [3], expected one, or one for each index of axis 1",
}
CONSTANTS = {
    "window": np.ones((1, 4, 5, 1), np.float32),
    "taps": np.ones((4, 1, 3, 3), np.float32),
    "four": np.ones(4, np.float32),
    "pads": np.ones(8, np.int64),
    "three": np.ones(3, np.float32),
    "bytes": np.zeros(3, np.int8),
    "wide_bytes": np.zeros((2, 8), np.int8),
    "tall_bytes": np.zeros((8, 4), np.int8),
    "image_bytes": np.zeros((1, 1, 4, 4), np.uint8),
    "tap_bytes": np.zeros((1, 1, 2, 2), np.int8),
    "sizes": np.array([-1, 5]),
    "scales": np.array([1, 1, -1, 1], np.float32),
    "target": np.array([4, 2]),
    "seven": np.array(7),
    "wide": np.zeros((1, 4, 4, 9), np.int64),
    "updates": np.zeros((1, 4, 4, 9), np.float32),
    "place": np.zeros((1, 1), np.int64),
    "lengths": np.array([1, 1, 1]),
    "cache": np.ones((9, 2), np.float32),
    "positions": np.zeros((1, 1), np.int64),
}


def network(call: str) -> onnx.ModelProto:
    """One node on x [1, 4, 4, 4], with an output of no stated shape."""
    text = f'<ir_version: 10, opset_import: ["" : 23]> g (float[1, 4, 4, 4] x) => (float y) {{ y = {call} }}'
    model = onnx.parser.parse_model(text)
    used = set(model.graph.node[0].input)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(CONSTANTS[name], name) for name in used & {*CONSTANTS})
    model.graph.output[0].type.Clear()
    return model


@pytest.mark.parametrize("call", WRONG)
def test_what_means_nothing_is_refused(call):
    with pytest.raises(FrontendError, match=re.escape(WRONG[call])) as refused:
        load(network(call))

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("operator", "attribute"), WORDS)
def test_words_are_attributes_of_the_operator(operator, attribute):
    assert onnx.defs.get_schema(operator).attributes[attribute].type == onnx.defs.OpSchema.AttrType.STRING


@pytest.mark.parametrize("call", ['Resize <mode = "cube"> (x, , four)', 'Pad <mode = "mirror"> (x, pads)'])
def test_unknown_words_are_told_with_those_that_are_known(call):
    with pytest.raises(FrontendError, match=r"mode is '\w+', expected one of c\w+,"):
        load(network(call))


def test_a_last_window_may_stand_out_with_ceil_mode():
    model = network(POOL.format("3, 3", "2, 2", "0, 0, 0, 0", "1, 1", 1))

    assert tuple(load(model).graph.outputs[0].shape) == (1, 4, 2, 2)
