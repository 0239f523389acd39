"""ONNX graphs as torch functions give what ONNX Runtime gives, and gradients reach the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.frontend import read  # noqa: E402
from edgesparse.torch.network import Network  # noqa: E402
from tests.frontend.graphs import floats, model  # noqa: E402
from tests.models import ort_run, real_model  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

EVERY = """g (float[2, 4, 9, 7] x) => (float[a, b] y, float[c, d, e, f] z, float[g, h] t, float[i, j, k, l] v) {
    [conv] c = Conv <pads = [1, 0, 2, 1], strides = [2, 1], dilations = [1, 2]> (x, w, b)
    [same] d = Conv <auto_pad = "SAME_UPPER", group = 2, strides = [2, 2]> (c, strided)
    l = LeakyRelu <alpha = 0.2> (d)
    m = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [1, 1]> (l)
    p = AveragePool <kernel_shape = [2, 2], pads = [0, 1, 0, 0], strides = [1, 1]> (m)
    s = Shape (p)
    zero = Constant <value = int64[1] {0}> ()
    one = Constant <value = int64[1] {1}> ()
    n = Slice (s, zero, one)
    minus = Constant <value = int64[1] {-1}> ()
    shape = Concat <axis = 0> (n, minus)
    r = Reshape (p, shape)
    u = Transpose <perm = [1, 0]> (r)
    k = Softmax <axis = 0> (u)
    q = ReduceMean <axes = [1], keepdims = 1> (k)
    y = Sub (u, q)
    first, second = Split <axis = 1, num_outputs = 2> (x)
    h = HardSigmoid (first)
    z = Where (mask, h, second)
    e = Gather <axis = 0> (table, ids)
    t = LayerNormalization (e, scale)
    v = ConvTranspose <strides = [3, 2], group = 2, pads = [4, 0, 1, 3], output_padding = [2, 1]> (x, wide, b)
}"""


def test_operators_give_what_onnx_runtime_gives():
    arrays = {
        "w": floats(6, 4, 3, 2),
        "b": floats(6),
        "strided": floats(4, 3, 3, 3),
        "wide": floats(4, 3, 3, 3),
        "table": floats(5, 8),
    }
    more = {"ids": np.array([4, 0, -1]), "mask": floats(1, 2, 9, 7, seed=3) > 0, "scale": floats(8)}
    source, x = model(EVERY.replace("axes = [1], ", ""), opset=18, **arrays, **more), floats(2, 4, 9, 7, seed=9)

    found = Network(source).run({"x": torch.from_numpy(x)}, ["y", "z", "t", "v"])

    for name, exact in zip("yztv", ort_run(source, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name].numpy(), exact, atol=2e-5)


SHORT = {
    "y = Mish (x)": {},
    "y = Softsign (x)": {},
    "r = Reciprocal (z) m = Mul (r, z) n = IsNaN (m) y = Where (n, x, m)": {},
    "p = Greater (x, z) q = Less (x, k) o = Xor (p, q) y = Where (o, x, z)": {"k": np.float32(0.5)},
    "y = Tile (x, r)": {"r": np.array([2, 1, 3])},
    "y = ReduceMin (x, a)": {"a": np.array([1])},
    "y = ReduceL2 (x, a)": {"a": np.array([0, 2])},
    "y = InstanceNormalization (x, s, b)": {"s": floats(3), "b": floats(3, seed=1)},
    "y = GatherND (x, i)": {"i": np.array([[1, -1], [0, 2]])},
    "y = GatherND <batch_dims = 1> (x, i)": {"i": np.array([[[2, 4], [0, -5]], [[-3, 1], [1, 1]]])},
    "y = GatherElements <axis = 1> (x, i)": {"i": np.array([[[0, -1, 2, 1, 0]], [[2, 2, -3, 0, 1]]])},
    "y = CumSum (x, a)": {"a": np.array(-1)},
    "s = Shape <start = 1> (x) y = Expand (z, s)": {},
    "s = Shape <start = -2, end = -1> (x) c = Concat <axis = 0> (s, t) y = Reshape (x, c)": {"t": np.array([-1])},
}


@pytest.mark.parametrize("body", SHORT)
def test_more_operators_give_what_onnx_runtime_gives(body):
    source = model(f"g (float[2, 3, 5] x) => (y) {{ z = Relu (x) {body} }}", opset=18, **SHORT[body])
    x = floats(2, 3, 5, seed=9)

    found = Network(source).run({"x": torch.from_numpy(x)}, ["y"])

    np.testing.assert_allclose(found["y"].numpy(), ort_run(source, {"x": x})[0], atol=1e-5)


OLDER = """g (float[2, 3, 5] x) => (float[a, b, c] y, float[d, e, f] z) {
    s = Softmax <axis = 1> (x)
    p = Pad <pads = [0, 1, 0, 0, 0, 2], value = 0.5> (s)
    l = Slice <axes = [1], starts = [1], ends = [3]> (p)
    c = Clip <max = 0.3> (l)
    first, second = Split <axis = 0, split = [1, 1]> (c)
    q = Squeeze <axes = [0]> (first)
    u = Unsqueeze <axes = [0]> (q)
    y = Concat <axis = 0> (u, second)
    z = ReduceMean <axes = [2]> (y)
}"""


def test_older_models_mean_what_their_opset_says():
    source, x = model(OLDER, opset=9), floats(2, 3, 5, seed=9)

    found = Network(source).run({"x": torch.from_numpy(x)}, ["y", "z"])

    for name, exact in zip("yz", ort_run(source, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name].numpy(), exact, atol=1e-6)


@pytest.mark.parametrize("name", ["cifar10_resnet20", "mlperf_tiny_vww_mobilenetv1_025", "sinet_portrait_seg"])
def test_real_models_run_as_torch_functions(name):
    path: Path = real_model(name)
    source = read(path)
    value = source.graph.inputs[0]
    shape = [size if isinstance(size, int) else 2 for size in value.shape]
    x = np.random.default_rng(0).random(shape, np.float32)

    outputs = [str(each.name) for each in source.graph.outputs]
    found = Network(source).run({str(value.name): torch.from_numpy(x)}, outputs)

    for output, exact in zip(outputs, ort_run(source, {str(value.name): x}), strict=True):
        np.testing.assert_allclose(found[output].numpy(), exact, atol=1e-3 * abs(exact).max())


RECURRENT = [("LSTM", 4, ""), ("GRU", 3, ""), ("GRU", 3, ", linear_before_reset = 1")]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "gates", "more"), RECURRENT)
def test_recurrent_operators_give_what_onnx_runtime_gives(op, gates, more, direction):
    text = f"""g (float[5, 2, 4] x) => (float[a, b, c, d] y, float[e, f, g] h) {{
        y, h = {op} <hidden_size = 3, direction = "{direction}"{more}> (x, w, r, b, , start)
    }}"""
    ways = 2 if direction == "bidirectional" else 1
    shapes = {"w": (ways, gates * 3, 4), "r": (ways, gates * 3, 3), "b": (ways, gates * 6), "start": (ways, 2, 3)}
    source = model(text, **{name: floats(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())})
    x = floats(5, 2, 4, seed=9)

    found = Network(source).run({"x": torch.from_numpy(x)}, ["y", "h"])

    for name, exact in zip("yh", ort_run(source, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name].numpy(), exact, atol=1e-5)


KIND = "that computes 'y' is of a kind without torch function"
ODD = {
    "torch functions for Det are missing": "{ y = Det (x) }",
    "torch cannot run MatMul that computes 'y': ": "{ y = MatMul (x, w) }",
    f"GRU {KIND}": "{ y = GRU <hidden_size = 2, clip = 1.0> (x, w, w) }",
    f"Resize {KIND}": '{ t = Unsqueeze (x, s) y = Resize <mode = "cubic"> (t, , k) }',
    f"AveragePool {KIND}": "{ y = AveragePool <kernel_shape = [2], ceil_mode = 1> (x) }",
    f"Pad {KIND}": '{ y = Pad <mode = "reflect"> (x, p) }',
}


@pytest.mark.parametrize("message", ODD)
def test_what_has_no_torch_function_is_named(message):
    arrays = {"w": floats(1, 6, 2), "s": np.array([0]), "k": np.ones(4, np.float32), "p": np.ones(6, np.int64)}
    held = {name: array for name, array in arrays.items() if f" {name})" in ODD[message]}
    source = model(f"g (float[3, 2, 2] x) => (float[a, b, c] y) {ODD[message]}", opset=18, **held)

    with pytest.raises(PruneError, match=message):
        Network(source).run({"x": torch.from_numpy(floats(3, 2, 2))}, ["y"])
