"""Channels, heads and neurons go with all that they are coupled to, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.prune import shrink
from tests.frontend.graphs import floats
from tests.models import assert_close, ort_run
from tests.prune.judge import assert_same_as_zeroed, constants, network


def ints(*values):
    return np.array(values, np.int64)


CONV = "[stem] a = Conv <pads = [1, 1, 1, 1]> (x, w0, b0) "
HEAD = " p = GlobalAveragePool (z) f = Flatten (p) [head] y = Gemm (f, w9, b9)"
ENDS = {"w0": (8, 3, 3, 3), "b0": (8,), "w9": (8, 5), "b9": (5,)}

CHANNELS = {
    "chain": (
        CONV + "[bn] n = BatchNormalization (a, g, b, m, v) r = Relu (n) [next] z = Conv (r, w1)" + HEAD,
        {**ENDS, "g": (8,), "b": (8,), "m": (8,), "v": np.linspace(1, 2, 8, dtype=np.float32), "w1": (8, 8, 3, 3)},
    ),
    "residual": (
        CONV + "r = Relu (a) [next] c = Conv (r, w1) [last] d = Conv (c, w2) z = Add (d, r)" + HEAD,
        {**ENDS, "w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1)},
    ),
    "sigmoid is not zero at zero": (
        CONV + "s = Sigmoid (a) [next] z = Conv (s, w1, b1)" + HEAD,
        {**ENDS, "w1": (8, 8, 1, 1), "b1": (8,)},
    ),
    "depthwise": (
        CONV + "[deep] d = Conv <group = 8, pads = [1, 1, 1, 1]> (a, w1, b1) [next] z = Conv (d, w2)" + HEAD,
        {**ENDS, "w1": (8, 1, 3, 3), "b1": (8,), "w2": (8, 8, 1, 1)},
    ),
    "depthwise with two outputs a channel": (
        CONV + "[deep] d = Conv <group = 8> (a, w1) [next] z = Conv (d, w2)" + HEAD,
        {**ENDS, "w1": (16, 1, 3, 3), "w2": (8, 16, 1, 1)},
    ),
    "many narrow groups": (
        CONV + "[grouped] d = Conv <group = 4> (a, w1) [next] z = Conv (d, w2)" + HEAD,
        {**ENDS, "w1": (12, 2, 3, 3), "w2": (8, 12, 1, 1)},
    ),
    "few wide groups": (
        CONV + "[grouped] d = Conv <group = 2> (a, w1) [next] z = Conv (d, w2)" + HEAD,
        {**ENDS, "w1": (6, 4, 3, 3), "w2": (8, 6, 1, 1)},
    ),
    "concatenation": (
        CONV + "[one] b = Conv (a, w1) [two] c = Conv (a, w2) d = Concat <axis = 1> (b, c) [next]"
        " z = Conv (d, w3)" + HEAD,
        {**ENDS, "w1": (4, 8, 1, 1), "w2": (7, 8, 1, 1), "w3": (8, 11, 1, 1)},
    ),
    "concatenation with what stays": (
        CONV + "d = Concat <axis = 1> (x, a) [next] z = Conv (d, w3)" + HEAD,
        {**ENDS, "w3": (8, 11, 1, 1)},
    ),
    "sum over a concatenation": (
        CONV + "[one] b = Conv (a, w1) [two] c = Conv (a, w2) d = Concat <axis = 1> (b, c) z = Add (d, a)" + HEAD,
        {**ENDS, "w1": (4, 8, 1, 1), "w2": (4, 8, 1, 1)},
    ),
    "split": (
        CONV + "[wide] b = Conv (a, w1) c, d = Split <axis = 1> (b, parts) z = Mul (c, d)" + HEAD,
        {**ENDS, "w1": (16, 8, 1, 1), "parts": ints(8, 8)},
    ),
    "split by number": (
        CONV + "c, d = Split <axis = 1, num_outputs = 2> (a) [next] e = Conv (c, w1)"
        " z = Concat <axis = 1> (e, d)" + HEAD,
        {**ENDS, "w1": (4, 4, 1, 1)},
    ),
    "slices": (
        CONV + "c = Slice (a, s0, s3, one) d = Slice (a, s3, end, one) [next] e = Conv (c, w1)"
        " z = Concat <axis = 1> (e, d)"
        + HEAD,
        {**ENDS, "w1": (3, 3, 1, 1), "s0": ints(0), "s3": ints(-5), "end": ints(2**62), "one": ints(1)},
    ),
    "shuffled channels": (
        CONV + "z = Gather <axis = 1> (a, order)" + HEAD,
        {**ENDS, "order": ints(3, 1, 0, -1, 6, 5, 4, 2)},
    ),
    "squeeze and excitation": (
        CONV + "q = GlobalAveragePool (a) [down] e = Conv (q, w1) r = Relu (e)"
        " [up] u = Conv (r, w2, b2) s = HardSigmoid (u)"
        " z = Mul (s, a)" + HEAD,
        {**ENDS, "w1": (4, 8, 1, 1), "w2": (8, 4, 1, 1), "b2": (8,)},
    ),
    "flatten to dense": (
        CONV + "q = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (a)"
        " f = Flatten (q) [head] y = Gemm <transB = 1> (f, w9)",
        {**ENDS, "w9": (5, 32)},
    ),
    "reshape to dense": (
        CONV + "q = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (a)"
        " f = Reshape (q, flat) [head] y = MatMul (f, w9)",
        {**ENDS, "w9": (32, 5), "flat": ints(1, 32)},
    ),
    "padded channels": (
        CONV + "c = Pad (a, pads) [next] d = Conv (a, w1) z = Add (c, d)" + HEAD,
        {**ENDS, "pads": ints(0, 2, 0, 0, 0, 2, 0, 0), "w1": (12, 8, 1, 1), "w9": (12, 5)},
    ),
    "transposed convolution": (
        CONV + "[up] z = ConvTranspose <strides = [2, 2]> (a, w1, b1)" + HEAD,
        {**ENDS, "w1": (8, 6, 2, 2), "b1": (6,), "w9": (6, 5)},
    ),
    "depthwise transposed convolution": (
        CONV + "[up] d = ConvTranspose <group = 8> (a, w1) [next] z = Conv (d, w2)" + HEAD,
        {**ENDS, "w1": (8, 1, 2, 2), "w2": (8, 8, 1, 1)},
    ),
    "constants by channel": (
        CONV + "c = PRelu (a, slope) d = Mul (gain, c) e = Add (d, shift) q = InstanceNormalization (e, g, b)"
        " h = Where (where, q, shift) z = Clip (h, low, high)" + HEAD,
        {**ENDS, "slope": (8, 1, 1), "gain": (1, 8, 1, 1), "shift": (8, 1, 1), "g": (8,), "b": (8,),
         "where": np.arange(36).reshape(6, 6) % 3 > 0, "low": np.float32(-9), "high": np.float32(9)},
    ),
    "resized to a size": (
        CONV + "z = Resize <mode = \"nearest\"> (a, none, none, size)" + HEAD,
        {**ENDS, "none": np.zeros(0, np.float32), "size": ints(1, 8, 12, 12)},
    ),
    "pixels last": (
        CONV + "t = Transpose <perm = [0, 2, 3, 1]> (a) [dense] d = MatMul (t, w1) e = Add (d, b1) h = Gelu (e)"
        " [out] o = MatMul (h, w2) z = Transpose <perm = [0, 3, 1, 2]> (o)" + HEAD,
        {**ENDS, "w1": (8, 12), "b1": (12,), "w2": (12, 8)},
    ),
    "computed shape": (
        CONV + "s = Shape (a) i = Gather (s, first) c = Gather (s, second)"
        " u = Mul (i, i) t = Concat <axis = 0> (u, c, rest)"
        " z = Reshape (a, t)" + HEAD,
        {**ENDS, "first": ints(0), "second": ints(1), "rest": ints(2, -1)},
    ),
    "expanded like a channel": (
        CONV + "s = Shape (a) e = Expand (scale, s) z = Mul (a, e)" + HEAD,
        {**ENDS, "scale": np.full((1, 1, 1, 1), 1.5, np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANNELS)
def test_channels_go_with_all_they_are_coupled_to(case):
    text, shapes = CHANNELS[case]
    source = network(text, **shapes)

    shrunk = shrink(source, 0.99, multiple=2)

    assert all(row.size_after < row.size_before for row in shrunk.report.groups if row.note is None)
    assert_same_as_zeroed(source, shrunk, {"x": floats(1, 3, 6, 6, seed=99)})


STAYS = {
    "an output": ("[one] y = Conv (x, w1)", {"w1": (8, 3, 1, 1)}, "it is an output of the model"),
    "an operator that is not known": (
        "[one] a = Conv (x, w1) u = Det (a) d = Unsqueeze (u, axes) y = Conv (d, w2)",
        {"w1": (8, 3, 1, 1), "w2": (5, 8, 1, 1), "axes": ints(2, 3)},
        "Det reads it",
    ),
    "a normalisation over it": (
        "[one] a = Conv (x, w1) s = Softmax <axis = 1> (a) y = Conv (s, w2)",
        {"w1": (8, 3, 1, 1), "w2": (5, 8, 1, 1)},
        "Softmax mixes along it",
    ),
    "a sum over it": (
        "[one] a = Conv (x, w1) y = ReduceSum (a, axes)",
        {"w1": (8, 3, 1, 1), "axes": ints(1)},
        "ReduceSum mixes along it",
    ),
    "a sum with an input": (
        "[one] a = Conv (x, w1) s = Add (a, x) y = Conv (s, w2)",
        {"w1": (3, 3, 1, 1), "w2": (5, 3, 1, 1)},
        "Add joins it with what stays",
    ),
    "every second of it": (
        "[one] a = Conv (x, w1) s = Slice (a, zero, end, axis, two) y = Conv (s, w2)",
        {"w1": (8, 3, 1, 1), "w2": (5, 4, 1, 1), "zero": ints(0), "end": ints(8), "axis": ints(1), "two": ints(2)},
        "Slice leaves some out",
    ),
    "arithmetic on its size": (
        "[one] a = Conv (x, w1) s = Shape (a) k = Cast <to = 1> (s) r = ReduceMax <keepdims = 0> (k) t = Div (a, r)"
        " y = Conv (t, w2)",
        {"w1": (8, 3, 1, 1), "w2": (5, 8, 1, 1)},
        "ReduceMax computes with its size",
    ),
    "a weight quantized in blocks": (
        "w = DequantizeLinear <axis = 1, block_size = 1> (w1, s) [one] a = Conv (x, w) y = Conv (a, w2)",
        {"w1": np.ones((8, 3, 1, 1), np.int8), "s": (8, 3, 1, 1), "w2": (5, 8, 1, 1)},
        "one is quantized",
    ),
    "a branch that reads it": (
        "[one] a = Conv (x, w1) y = If (flag) <then_branch = t () => (float[1, 8, 6, 6] u) { u = Relu (a) },"
        " else_branch = e () => (float[1, 8, 6, 6] v) { v = Neg (a) }>",
        {"w1": (8, 3, 1, 1), "flag": np.array(True)},
        "a branch of If reads it",
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_cannot_be_followed_stays_for_a_reason(case):
    text, shapes, reason = STAYS[case]
    follows = " [free] f = Conv (x, v1) [end] z = Conv (f, v2)"
    source = network(
        text + follows,
        21,
        output="float[1, 5, h, w] y, float[1, 2, 6, 6] z",
        **shapes,
        v1=(8, 3, 1, 1),
        v2=(2, 8, 1, 1),
    )

    shrunk = shrink(source, 0.9, multiple=2)

    notes = {row.name: row.note for row in shrunk.report.groups}
    assert notes["one"] == reason and notes["free"] is None
    after = {name: tuple(value.shape) for name, value in shrunk.model.graph.initializers.items()}
    assert after["w1"] == tuple(source.graph.initializers["w1"].shape) and after["v1"] == (2, 3, 1, 1)


def test_the_source_is_left_as_it_is():
    text, shapes = CHANNELS["residual"]
    source = network(text, **shapes)
    before = {name: array.copy() for name, array in constants(source).items()}

    shrink(source, 0.5, multiple=2)

    after = constants(source)
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_a_weight_that_two_layers_read_differently_becomes_two():
    text = "[a] a = Conv (x, w0) [b] b = Conv (a, w) [c] c = Conv (b, w) d = Concat <axis = 1> (b, c) z = Relu (d)"
    source = network(text + " p = GlobalAveragePool (z) f = Flatten (p) [head] y = Gemm (f, w9)",
                     w0=(8, 3, 1, 1), w=(8, 8, 1, 1), w9=(16, 5))  # fmt: skip

    shrunk = shrink(source, 0.5, multiple=2)

    weights = [node.inputs[1].const_value.numpy() for node in shrunk.model.graph if node.name in ("b", "c")]
    original, judge = constants(source)["w"], floats(1, 3, 6, 6, seed=1)
    masks = [np.isin(original, weight) for weight in weights]
    separate = network(text.replace("[c] c = Conv (b, w)", "[c] c = Conv (b, v)") + " p = GlobalAveragePool (z)"
                       " f = Flatten (p) [head] y = Gemm (f, w9)", **{**constants(source), "w": original * masks[0],
                       "v": original * masks[1]})  # fmt: skip
    for name in ("w0", "w9"):
        kept = np.isin(constants(source)[name], constants(shrunk.model)[name])
        separate.graph.initializers[name].const_value = ir.tensor(constants(source)[name] * kept)
    assert_close(ort_run(shrunk.model, {"x": judge})[0], ort_run(separate, {"x": judge})[0])


def test_quantized_weights_are_cut_with_their_scales():
    text = "[one] w1 = DequantizeLinear <axis = 0> (q, scale) a = Conv (x, w1) r = Relu (a) z = Conv (r, w2)" + HEAD
    quantized = np.arange(24, dtype=np.int8).reshape(8, 3, 1, 1)
    source = network(text, q=quantized, scale=(8,), w2=(8, 8, 1, 1), w9=(8, 5), b9=(5,))

    shrunk = shrink(source, 0.6, multiple=2)

    left = {name: value.const_value.numpy() for name, value in shrunk.model.graph.initializers.items()}
    assert left["q"].dtype == np.int8 and 0 < len(left["q"]) == len(left["scale"]) < 8
    kept = np.isin(quantized, left["q"])
    source.graph.initializers["q"].const_value = ir.tensor(np.where(kept, quantized, 0).astype(np.int8))
    assert_same_as_zeroed(source, shrunk, {"x": floats(1, 3, 6, 6, seed=99)})
