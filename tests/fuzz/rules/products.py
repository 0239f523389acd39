"""Weighted layers, products of computed values, and what is quantized."""

from __future__ import annotations

import numpy as np

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.elementwise import require
from tests.fuzz.rules.registry import rule
from tests.fuzz.rules.windows import image, window

SCALES = (0.5, 0.25, 0.125, 0.0625)  # powers of two: products with them are exact, so that no tie is broken


def sparse(g: Graph, array: np.ndarray) -> np.ndarray:
    """Weights as they are, or with 80 % zeros: anywhere, or in blocks of four outputs."""
    kind = g.choose(["dense", "dense", "unstructured", "4x1"])
    if kind == "dense" or array.size < 16:
        return array
    rows = array.shape[0]
    blocks = -(-rows // 4) if kind == "4x1" else rows
    mask = g.rng.random((blocks, *array.shape[1:])) < 0.2
    return array * (np.repeat(mask, 4, axis=0)[:rows] if kind == "4x1" else mask).astype(array.dtype)


def weights(g: Graph, dtype: str, shape: tuple[int, ...], outputs_last: bool = False) -> Value:
    """A constant weight, one that a layer has already, or one that is computed."""
    known = [v for v in g.values if v.maker == "constant" and v.dtype == dtype and v.shape == shape]
    if known and g.chance(0.5):
        return g.choose(known)
    array = g.array(dtype, shape, (-0.5, 0.5) if np.dtype(dtype).kind == "f" else None)
    array = np.moveaxis(sparse(g, np.moveaxis(array, -1, 0)), 0, -1) if outputs_last else sparse(g, array)
    return g.input(array) if g.chance(0.1) else g.constant(array)


@rule("Conv", "weighted", ranks=(3, 4, 5))
def convolution(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype)
    require(x.shape[1] <= 33, "too many channels")
    groups = int(g.choose([1, 1, x.shape[1], *(d for d in (2, 3, 4) if x.shape[1] % d == 0)]))
    outputs = groups * int(g.choose([1, 1, 2, 3, 8 if groups == 1 else 1, 16 if groups == 1 else 1]))
    attributes = window(g, x.shape[2:])
    if g.chance(0.25):
        attributes = {"kernel_shape": [1] * (x.rank - 2)}
    kernel = attributes["kernel_shape"]
    if g.chance(0.2):
        del attributes["kernel_shape"]
    w = weights(g, dtype, (outputs, x.shape[1] // groups, *map(int, kernel)))
    bias = bias_of(g, dtype, outputs)
    g.apply(op, x, w, bias, group=groups if groups > 1 or g.chance(0.3) else None, **attributes)


def bias_of(g: Graph, dtype: str, size: int) -> Value | None:
    """A bias, mostly constant, or none."""
    if g.chance(0.4):
        return None
    return g.input(g.array(dtype, (size,))) if g.chance(0.1) else g.constant(g.array(dtype, (size,)))


@rule("ConvTranspose", "weighted", ranks=(3, 4, 5))
def transposed_convolution(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype)
    require(x.shape[1] <= 16, "too many channels")
    dims = x.rank - 2
    groups = int(g.choose([1, 1, *(d for d in (2, 3, x.shape[1]) if x.shape[1] % d == 0)]))
    kernel = [int(g.choose([1, 2, 3])) for _ in range(dims)]
    strides = [int(g.choose([1, 2, 3])) for _ in range(dims)]
    attributes: dict[str, object] = {"kernel_shape": kernel, "strides": strides}
    if g.chance(0.3):
        attributes["dilations"] = [int(g.choose([1, 2])) for _ in range(dims)]
    if g.chance(0.3):
        attributes["auto_pad"] = g.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif g.chance(0.6):
        attributes["pads"] = [int(g.rng.integers(0, k)) for k in kernel * 2]
    if g.chance(0.3):
        attributes["output_padding"] = [int(g.rng.integers(0, s)) for s in strides]
    outputs = int(g.choose([1, 2, 5]))
    w = weights(g, dtype, (x.shape[1], outputs, *kernel))
    g.apply(op, x, w, bias_of(g, dtype, outputs * groups), group=groups if groups > 1 else None, **attributes)


@rule("Gemm", "weighted", ranks=(2,))
def gemm(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype, ranks=(2,))
    rows, inner = a.shape
    flip_a, flip_b = int(g.chance(0.25)), int(g.chance(0.4))
    if flip_a:
        rows, inner = inner, rows
    outputs = g.size()
    b = weights(g, dtype, (outputs, inner) if flip_b else (inner, outputs), outputs_last=not flip_b)
    shape = g.choose([(outputs,), (rows, outputs), (1, outputs), (rows, 1), (1,), ()])
    c = g.operand(dtype, shape) if g.opset < 11 or g.chance(0.7) else None
    numbers = {
        n: float(g.choose([0.5, 2.0])) for n in ("alpha", "beta") if g.chance(0.25) and np.dtype(dtype).kind == "f"
    }
    g.apply(op, a, b, c, transA=flip_a or None, transB=flip_b or None, **numbers)


@rule("MatMul", "weighted", ranks=(1, 2, 3, 4))
def matmul(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype, ranks=(1, 2, 3, 4))
    inner, outputs = a.shape[-1], g.size()
    way = g.choose(["weight", "weight", "left", "stacked", "vector", "lifted"])
    if way == "vector":
        b = g.operand(dtype, (inner,))
    elif way == "stacked" and a.rank > 2:
        leading = [g.choose([1, size]) for size in a.shape[:-2]]
        b = g.operand(dtype, (*leading, inner, outputs))
    elif way == "lifted":
        b = weights(g, dtype, (1, inner, outputs))
    elif way == "left" and a.rank > 1:
        g.apply(op, weights(g, dtype, (outputs, a.shape[-2])), a)
        return
    else:
        b = weights(g, dtype, (inner, outputs), outputs_last=True)
    g.apply(op, a, b)


EQUATIONS = (
    "ij,jk->ik",
    "bij,bjk->bik",
    "bij,bkj->bik",
    "ij,ij->",
    "ij->ji",
    "i,j->ij",
    "bhid,bhjd->bhij",
    "ii->i",
    "bij->b",
)


@rule("Einsum", "weighted", ranks=(2, 3))
def einsum(g: Graph, op: str, dtype: str) -> None:
    equation = g.choose(EQUATIONS)
    sizes = {letter: g.choose([1, 2, 3, 5, 7]) for letter in "bhijkd"}
    parts = equation.split("->")[0].split(",")
    g.apply(op, *(g.operand(dtype, tuple(sizes[c] for c in part)) for part in parts), equation=equation)


def zero_point(g: Graph, dtype: str, shape: tuple[int, ...] = ()) -> Value | None:
    """A zero point, or none."""
    return None if g.chance(0.3) else g.parameter(g.array(dtype, shape))


def scale(g: Graph, shape: tuple[int, ...] = (), dtype: str = "float32") -> Value:
    """A scale, or one for each channel."""
    return g.parameter(g.rng.choice(np.array(SCALES, dtype), shape), dtype)


@rule("MatMulInteger", "quantized", ranks=(2, 3))
def matmul_integer(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype, ranks=(2, 3))
    kind = g.choose(["int8", "uint8"]) if dtype == "uint8" else "int8"
    b = weights(g, kind, (a.shape[-1], g.size()))
    g.apply(op, a, b, zero_point(g, dtype), zero_point(g, kind))


@rule("ConvInteger", "quantized", ranks=(4,))
def conv_integer(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype, dims=(2,))
    attributes = window(g, x.shape[2:])
    kind = "uint8" if g.chance(0.5) else "int8"
    w = weights(g, kind, (g.choose([1, 3, 8]), x.shape[1], *map(int, attributes["kernel_shape"])))
    g.apply(op, x, w, zero_point(g, dtype), zero_point(g, kind), **attributes)


@rule("QLinearMatMul", "quantized", ranks=(2, 3))
def qlinear_matmul(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype, ranks=(2, 3))
    kind = dtype if dtype == "int8" else g.choose(["int8", "uint8"])
    b = weights(g, kind, (a.shape[-1], g.size()))
    zeros = [g.parameter(g.array(d, ())) for d in (dtype, kind, dtype)]
    g.apply(op, a, scale(g), zeros[0], b, scale(g), zeros[1], scale(g), zeros[2])


@rule("QLinearConv", "quantized", ranks=(4,))
def qlinear_conv(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype, dims=(2,))
    attributes = window(g, x.shape[2:])
    kind = "int8" if dtype == "int8" else g.choose(["int8", "uint8"])
    outputs = g.choose([1, 3, 8])
    w = weights(g, kind, (outputs, x.shape[1], *map(int, attributes["kernel_shape"])))
    per_channel = (outputs,) if g.chance(0.4) else ()
    zero_w = g.parameter(np.zeros(per_channel, kind) if per_channel else g.array(kind, ()))
    bias = g.parameter(g.array("int32", (outputs,), (-50, 50))) if g.chance(0.5) else None
    zeros = [g.parameter(g.array(dtype, ())) for _ in range(2)]
    g.apply(op, x, scale(g), zeros[0], w, scale(g, per_channel), zero_w, scale(g), zeros[1], bias, **attributes)


@rule("QuantizeLinear", "quantized")
def quantize(g: Graph, op: str, dtype: str) -> None:
    kinds = ["int8", "uint8"] + (["int16", "uint16"] if g.opset >= 21 else [])
    x = g.operand(dtype)
    shape, attributes = channels(g, x)
    kind = g.choose(kinds)
    floats = dtype if dtype == "float16" else "float32"
    zero = zero_point(g, kind, shape)
    g.apply(op, x, scale(g, shape, floats), zero, **attributes)


def channels(g: Graph, x: Value) -> tuple[tuple[int, ...], dict[str, int]]:
    """One scale for all, or one for each channel of an axis."""
    if x.rank == 0 or g.opset < 13 or g.chance(0.5):
        return (), {}
    axis = g.axis(x.rank)
    return (x.shape[axis],), {"axis": axis}


@rule("DequantizeLinear", "quantized")
def dequantize(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    shape, attributes = channels(g, x)
    zero = g.parameter(np.zeros(shape, "int32")) if dtype == "int32" and g.chance(0.3) else None
    if dtype != "int32":
        zero = zero_point(g, dtype, shape)
    floats = "float16" if g.opset >= 19 and g.chance(0.2) else "float32"
    g.apply(op, x, scale(g, shape, floats), zero, **attributes)


@rule("DynamicQuantizeLinear", "quantized")
def dynamic_quantize(g: Graph, op: str, dtype: str) -> None:
    g.apply(op, g.operand(dtype), outputs=3)
