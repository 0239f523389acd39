"""Operators that take scales and zero points as operands, and those that quantize in a run; see `quantized.py`."""

from __future__ import annotations

import numpy as np

from tests.sweeps.quantized import CONTRIB, Net, sums, writer

BYTES = ("uint8", "int8")


def _are_bytes(net: Net) -> bool:
    """These have kernels of bytes alone, of one type for x and y."""
    return net.row["x"] in BYTES and net.row["y"] == net.row["x"]


def _given(net: Net, shape: tuple[int, ...], reach: float = 4.0, *, fed: bool = True) -> list[str]:
    """Integers, their scale and their zero point."""
    return [net.stored(net.row["x"], shape, fed=fed), *_all(net, reach, net.row["x"])]


def _all(net: Net, reach: float, kind: str, count: int = 0) -> list[str]:
    """A scale and a zero point, which is there in any case."""
    scale, zero = net.parameters(reach, kind, count)
    return [scale, zero or net.constant(np.zeros((count,) if count else (), kind))]


def _weights(net: Net, shape: tuple[int, ...], channels: int) -> list[str]:
    kind, count = net.row["w"], channels if net.row["channels"] else 0
    scale = net.constant(net.scale(1.0, kind, count))
    zero = net.zero(kind)
    one = 0 if zero is None or count else int(zero)
    return [net.stored(kind, shape, fed=False), scale, net.constant(np.full((count,) if count else (), one, kind))]


def _sums_of_bias(net: Net, channels: int) -> str:
    return net.constant(net.rng.integers(-3000, 3000, channels, dtype=np.int32))


def _signs_fit(net: Net) -> bool:
    """ONNX Runtime multiplies int8 by int8, and uint8 by both."""
    return _are_bytes(net) and (net.row["x"] == "uint8" or net.row["w"] == "int8")


@writer("QLinearConv")
def qlinear_conv(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    operands = [*_given(net, (1, 5, 7, 9)), *_weights(net, (6, 5, 3, 3), 6), *_all(net, sums(net, 45), net.row["y"])]
    return net.node("QLinearConv", *operands, _sums_of_bias(net, 6), pads=[1, 0, 1, 1], strides=[1, 2])


@writer("depthwise QLinearConv")
def qlinear_depthwise(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    operands = [*_given(net, (1, 6, 7, 7)), *_weights(net, (6, 1, 3, 3), 6), *_all(net, sums(net, 9), net.row["y"])]
    return net.node("QLinearConv", *operands, group=6, auto_pad="SAME_UPPER")


@writer("QLinearMatMul")
def qlinear_matmul(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    operands = [*_given(net, (2, 3, 17)), *_weights(net, (17, 9), 9), *_all(net, sums(net, 17), net.row["y"])]
    return net.node("QLinearMatMul", *operands)


@writer("com.microsoft.QGemm", since=11)
def qgemm(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    turned = net.row["opset"] >= 19
    operands = [*_given(net, (3, 17)), *_weights(net, (9, 17) if turned else (17, 9), 9), _sums_of_bias(net, 9)]
    if net.row["zero"] != "middle":  # else the result is float
        operands += _all(net, sums(net, 17), net.row["y"])
    return net.node("QGemm", *operands, domain=CONTRIB, transB=int(turned), alpha=0.5 if turned else 1.0)


def _contrib_unary(operator: str, reach: float, **said: object) -> None:
    @writer(f"com.microsoft.{operator}")
    def one(net: Net) -> str | None:
        if not _are_bytes(net):
            return None
        return net.node(operator, *_given(net, (1, 3, 6, 6)), *_all(net, reach, net.row["y"]), domain=CONTRIB, **said)


_contrib_unary("QLinearAveragePool", 4.0, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1])
_contrib_unary("QLinearGlobalAveragePool", 1.0)
_contrib_unary("QLinearLeakyRelu", 4.0, alpha=0.1)
_contrib_unary("QLinearSigmoid", 1.0)


@writer("com.microsoft.QLinearSoftmax")
def qlinear_softmax(net: Net) -> str | None:
    if not _are_bytes(net):
        return None
    y = net.row["y"]
    limits = [net.constant(np.float32(1 / 256)), net.constant(np.array(np.iinfo(y).min, y))]
    said = {"opset": 13, "axis": -1} if net.row["opset"] >= 13 else {"opset": 11, "axis": 1}
    return net.node("QLinearSoftmax", *_given(net, (2, 3, 5)), *limits, domain=CONTRIB, **said)


def _contrib_binary(operator: str, reach: float) -> None:
    @writer(f"com.microsoft.{operator}")
    def both(net: Net) -> str | None:
        if not _are_bytes(net):
            return None
        constant = net.row["channels"]
        other = _given(net, (5,) if constant else (1, 3, 5), fed=not constant)
        return net.node(operator, *_given(net, (1, 3, 5)), *other, *_all(net, reach, net.row["y"]), domain=CONTRIB)


_contrib_binary("QLinearAdd", 8.0)
_contrib_binary("QLinearMul", 16.0)


@writer("com.microsoft.QLinearConcat")
def qlinear_concat(net: Net) -> str | None:
    if not _are_bytes(net):
        return None
    parts = [*_given(net, (1, 3, 5)), *_given(net, (1, 2, 5), 3.0), *_given(net, (1, 1, 5), fed=False)]
    return net.node("QLinearConcat", *_all(net, 4.0, net.row["y"]), *parts, domain=CONTRIB, axis=1)


@writer("com.microsoft.QLinearWhere")
def qlinear_where(net: Net) -> str | None:
    if not _are_bytes(net):
        return None
    condition = net.constant(net.rng.random((3, 5)) < 0.5)
    operands = [condition, *_given(net, (3, 5)), *_given(net, (3, 5), 3.0), *_all(net, 4.0, net.row["y"])]
    return net.node("QLinearWhere", *operands, domain=CONTRIB)


@writer("com.microsoft.QuantizeLinear")
def contrib_conversions(net: Net) -> str | None:
    x, y = net.row["x"], net.row["y"]
    count, said = (3, {"axis": 1}) if net.row["channels"] else (0, {})
    real = net.node(
        "DequantizeLinear", net.stored(x, (2, 3, 5), fed=True), *_all(net, 4.0, x, count), domain=CONTRIB, **said
    )
    return net.node("QuantizeLinear", net.node("Neg", real), *_all(net, 4.0, y), domain=CONTRIB)


@writer("MatMulInteger, ConvInteger")
def integer_products(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    x, w = net.row["x"], net.row["w"]
    zeros = [_all(net, 1.0, x)[1], _all(net, 1.0, w)[1]]
    if net.row["channels"]:
        return net.node("MatMulInteger", net.stored(x, (3, 9), fed=True), net.stored(w, (9, 5), fed=False), *zeros)
    if x == "int8":  # of which ONNX Runtime has no kernel
        return None
    operands = net.stored(x, (1, 3, 5, 5), fed=True), net.stored(w, (4, 3, 3, 3), fed=False)
    return net.node("ConvInteger", *operands, *zeros, pads=[1] * 4)


def _floats(net: Net, shape: tuple[int, ...]) -> str:
    name = f"{net.prefix}x{len(net.feeds)}"
    net.feeds[name] = net.rng.standard_normal(shape).astype(np.float32)
    return name


@writer("com.microsoft.DynamicQuantizeMatMul", since=11)
def dynamic_matmul(net: Net) -> str | None:
    if not _are_bytes(net) or net.row["x"] == "int8":
        return None
    w = _weights(net, (17, 9), 9)
    bias = net.constant(net.rng.random(9).astype(np.float32)) if net.row["zero"] != "low" else ""
    return net.node("DynamicQuantizeMatMul", _floats(net, (3, 17)), *w, bias, domain=CONTRIB)


@writer("com.microsoft.MatMulIntegerToFloat")
def product_to_float(net: Net) -> str | None:
    if not _signs_fit(net):
        return None
    a, a_scale, a_zero = _given(net, (3, 17))
    b, b_scale, b_zero = _weights(net, (17, 9), 9)
    bias = net.constant(net.rng.random(9).astype(np.float32)) if net.row["zero"] != "low" else ""
    return net.node("MatMulIntegerToFloat", a, b, a_scale, b_scale, a_zero, b_zero, bias, domain=CONTRIB)


@writer("com.microsoft.DynamicQuantizeLSTM", since=11)
def dynamic_lstm(net: Net) -> str | None:
    if not _are_bytes(net):
        return None
    hidden, directions, kind = 4, 2 if net.row["zero"] == "high" else 1, net.row["w"]
    limits, count = np.iinfo(kind), (4 * hidden,) if net.row["channels"] else ()
    operands = [_floats(net, (5, 2, 3))]
    scales = []
    for rows in (3, hidden):
        array = net.rng.integers(limits.min, limits.max, (directions, rows, 4 * hidden), dtype=kind)
        operands.append(net.constant(array))
        scales.append(net.constant(np.full((directions, *count), 0.004, np.float32)))
        middle = 128 if kind == "uint8" else 0
        scales.append(net.constant(np.full((directions, *count), middle, kind)))
    bias = net.constant(net.rng.random((directions, 8 * hidden)).astype(np.float32))
    said = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    return net.node("DynamicQuantizeLSTM", *operands, bias, "", "", "", "", *scales, domain=CONTRIB, **said)
