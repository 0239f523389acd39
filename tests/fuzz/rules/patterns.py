"""Rows of operators that the compiler knows as one, and near-misses: another constant or axis, a value read on."""

from __future__ import annotations

import math

import numpy as np

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.elementwise import require
from tests.fuzz.rules.products import bias_of, sparse
from tests.fuzz.rules.reducing import statistics
from tests.fuzz.rules.registry import pattern
from tests.fuzz.rules.shaping import with_axes
from tests.fuzz.rules.windows import image, window

F32 = "float32"


def number(g: Graph, right: float, near: float = 0.15) -> Value:
    """A constant of one element, now and then another one than the pattern wants."""
    wrong = right * 1.3 + 0.2
    shape = g.choose([(), (1,)])
    return g.constant(np.full(shape, wrong if g.chance(near) else right, F32))


def read_on(g: Graph, value: Value) -> None:
    """Now and then another node reads a value in the middle of a pattern, or it is an output."""
    if g.chance(0.04):
        g.apply("Neg", value)
    elif g.chance(0.02):
        g.outputs.append(value)


def one(g: Graph, op: str, *inputs: Value | None, **attributes: object) -> Value:
    """The output of a node; operands of Add and Mul come in either order."""
    if op in ("Add", "Mul") and g.chance(0.3):
        inputs = inputs[::-1]
    made = g.apply(op, *inputs, **attributes)[0]
    read_on(g, made)
    return made


@pattern("Gelu", ranks=(2, 3))
def gelu(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(F32)
    root = one(g, "Div", x, number(g, math.sqrt(2))) if g.chance(0.5) else one(g, "Mul", x, number(g, math.sqrt(0.5)))
    shifted = one(g, "Add", one(g, "Erf", root), number(g, 1.0))
    way = g.choose(["late", "early", "middle"])
    if way == "late":
        one(g, "Mul", one(g, "Mul", x, shifted), number(g, 0.5))
    elif way == "early":
        one(g, "Mul", one(g, "Mul", x, number(g, 0.5)), shifted)
    else:
        one(g, "Mul", x, one(g, "Mul", shifted, number(g, 0.5)))


@pattern("GeluTanh", ranks=(2, 3))
def gelu_tanh(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(F32)
    cube = one(g, "Pow", x, number(g, 3.0, 0.0))
    inner = one(g, "Mul", one(g, "Add", x, one(g, "Mul", cube, number(g, 0.044715))), number(g, math.sqrt(2 / math.pi)))
    shifted = one(g, "Add", one(g, "Tanh", inner), number(g, 1.0))
    if g.chance(0.5):
        one(g, "Mul", x, one(g, "Mul", shifted, number(g, 0.5)))
    else:
        one(g, "Mul", one(g, "Mul", x, number(g, 0.5)), shifted)


@pattern("Silu", ranks=(2, 4))
def silu(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(F32)
    gate = one(g, g.choose(["Sigmoid", "Sigmoid", "HardSigmoid"]), x)
    one(g, "Mul", x if g.chance(0.85) else g.operand(F32, x.shape), gate)


@pattern("HardSwish", ranks=(3, 4))
def hard_swish(g: Graph, op: str, dtype: str) -> None:
    require(g.opset >= 11, "Clip takes inputs from opset 11 on")
    x = g.operand(F32)
    limits = [g.constant(np.array(bound, F32)) for bound in (0.0, g.choose([6.0, 6.0, 6.0, 5.0]))]
    clipped = one(g, "Clip", one(g, "Add", x, number(g, 3.0)), *limits)
    if g.chance(0.5):
        one(g, "Div", one(g, "Mul", x, clipped), number(g, 6.0))
    else:
        one(g, "Mul", x, one(g, "Mul", clipped, number(g, 1 / 6)))


@pattern("LayerNormalization", ranks=(2, 3, 4))
def layer_norm(g: Graph, op: str, dtype: str) -> None:
    alike, side = g.chance(0.5), g.choose([2, 4, 7])  # the last two axes, so that they can be confused
    x = g.operand(
        F32,
        ranks=(2, 3, 4),
        fits=lambda v: v.shape[-1] > 1 and (not alike or v.shape[-1] == v.shape[-2]),
        otherwise=lambda: [*g.shape(g.choose([0, 1, 2]), 60), side if alike else g.size(), side],
    )
    axes = g.choose([[-1], [-1], [-1], [x.rank - 1], [x.rank - 2], [-2, -1]])
    if g.opset < 11:
        axes = [axis % x.rank for axis in axes]
    since = 18
    mean = with_axes(g, "ReduceMean", x, axes, since=since)[0]
    centred = one(g, "Sub", x, mean)
    square = one(g, "Pow", centred, number(g, 2.0, 0.0)) if g.chance(0.6) else one(g, "Mul", centred, centred)
    variance = with_axes(g, "ReduceMean", square, axes if g.chance(0.9) else [0], since=since)[0]
    root = one(g, "Sqrt", one(g, "Add", variance, g.constant(np.array(g.choose([1e-5, 1e-3]), F32))))
    normal = one(g, "Div", centred, root)
    for step in ("Mul", "Add")[: g.choose([0, 1, 2, 2])]:
        normal = one(g, step, normal, g.constant(g.array(F32, gain(g, x))))


def gain(g: Graph, x: Value) -> tuple[int, ...]:
    """The shape of a gain or shift of the last axis; or of another, of several, or of one element."""
    last = (x.shape[-1],)
    column = (*x.shape[-2:-1], 1)
    return g.choose([last, last, last, (1,), column, column, x.shape[-2:], (1, *last), ()])


@pattern("Attention", ranks=(3, 4))
def attention(g: Graph, op: str, dtype: str) -> None:
    leading = g.choose([(2,), (1, 2), (2, 3), ()])
    queries, keys, width, out = (g.choose([1, 3, 4, 7, 9]) for _ in range(4))
    q = g.operand(F32, (*leading, queries, width))
    k = g.operand(F32, (*leading, keys, width))
    v = g.operand(F32, (*leading, keys, out if g.chance(0.5) else width))
    rank = len(leading) + 2
    turned = one(g, "Transpose", k, perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = one(g, "MatMul", q, turned)
    if g.chance(0.7):
        scores = one(g, g.choose(["Div", "Mul"]), scores, number(g, 2.0))
    if g.chance(0.5):
        mask = g.choose([(queries, keys), (1, keys), (keys,), (queries, 1), (*leading, queries, keys)])
        scores = one(g, "Add", scores, g.new(F32, mask))
    axis = -1 if g.opset >= 11 else rank - 1
    weights = one(g, "Softmax", scores, axis=axis if g.chance(0.9) else 0)
    if g.chance(0.1):
        weights = one(g, "Where", one(g, "IsNaN", weights), g.constant(np.array(0, F32)), weights)
    one(g, "MatMul", weights, v)


@pattern("Heads", ranks=(3,))
def heads(g: Graph, op: str, dtype: str) -> None:
    """Projections, split into heads, scaled, and multiplied."""
    tokens, count, width = g.choose([1, 3, 8]), g.choose([1, 2, 3]), g.choose([1, 4, 8])
    x = g.operand(F32, (1, tokens, g.choose([4, 8, 16])))
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        w = g.constant(sparse(g, g.array(F32, (x.shape[-1], count * width), (-0.5, 0.5))))
        y = one(g, "MatMul", x, w)
        if g.chance(0.6):
            y = one(g, "Add", y, g.constant(g.array(F32, (count * width,))))
        y = one(g, "Reshape", y, g.parameter([1, tokens, count, width], "int64"))
        y = one(g, "Transpose", y, perm=perm)
        parts.append(one(g, "Mul", y, number(g, 0.7)) if g.chance(0.4) else y)
    q, k, v = parts
    weights = one(g, "Softmax", one(g, "MatMul", q, k), axis=3)
    mixed = one(g, "Transpose", one(g, "MatMul", weights, v), perm=[0, 2, 1, 3])
    one(g, "Reshape", mixed, g.parameter([1, tokens, count * width], "int64"))


@pattern("Block", ranks=(3, 4, 5))
def block(g: Graph, op: str, dtype: str) -> None:
    """A convolution with what a layer absorbs behind it: BatchNormalization, a residual, an activation."""
    x = image(g, F32)
    require(x.shape[1] <= 16, "too many channels")
    attributes = window(g, x.shape[2:])
    groups = int(g.choose([1, 1, x.shape[1]]))
    outputs = x.shape[1] if g.chance(0.6) else groups * g.choose([1, 2, 8])
    kernel = map(int, attributes["kernel_shape"])
    w = g.constant(sparse(g, g.array(F32, (outputs, x.shape[1] // groups, *kernel), (-0.5, 0.5))))
    if g.chance(0.2):
        column = g.constant(g.array(F32, (x.shape[1],) + (1,) * (x.rank - 2), (0.5, 1.5)))
        x = one(g, g.choose(["Mul", "Add", "Sub"]), x, column)
    y = one(g, "Conv", x, w, bias_of(g, F32, outputs), group=groups, **attributes)
    if g.chance(0.6):
        statistics(g, "BatchNormalization", y)
        y = g.values[-1] if g.values[-1].maker == "BatchNormalization" else y
    for _ in range(g.choose([0, 0, 1, 2])):
        side = g.choose([(outputs,) + (1,) * (y.rank - 2), y.shape, (1,) * y.rank, (), y.shape[-1:]])
        y = one(g, g.choose(["Add", "Mul", "Sub", "Div"]), y, g.constant(g.array(F32, side, (0.5, 1.5))))
    if g.chance(0.5):
        y = one(g, "Add", y, g.operand(F32, y.shape))
    if g.chance(0.6):
        one(g, g.choose(["Relu", "Sigmoid", "Tanh", "LeakyRelu"]), y)


@pattern("Linear", ranks=(2, 3))
def linear(g: Graph, op: str, dtype: str) -> None:
    """A linear layer with what it absorbs."""
    x = g.operand(F32, ranks=(2, 3))
    outputs = x.shape[-1] if g.chance(0.4) else g.size()
    w = g.constant(np.ascontiguousarray(sparse(g, g.array(F32, (outputs, x.shape[-1]), (-0.5, 0.5))).T))
    y = one(g, "MatMul", x, w)
    for _ in range(g.choose([0, 1, 1, 2, 3])):
        side = g.choose([(outputs,), (outputs,), (1,), (), (y.shape[-2], 1), y.shape])
        y = one(g, g.choose(["Add", "Add", "Mul", "Sub", "Div"]), y, g.constant(g.array(F32, side, (0.5, 1.5))))
    if g.chance(0.4):
        y = one(g, "Add", y, g.operand(F32, y.shape))
    if g.chance(0.5):
        one(g, g.choose(["Relu", "Sigmoid", "Tanh"]), y)


@pattern("Joined", ranks=(4,))
def joined(g: Graph, op: str, dtype: str) -> None:
    """An expanding 1x1 layer, a depthwise window, and a narrowing layer with a residual."""
    channels, wide = g.choose([1, 4, 8]), g.choose([8, 16, 24])
    side = g.choose([1, 3, 7, 8])
    x = g.operand(F32, (1, channels, side, side))
    y = x
    for out, inner, kernel, groups in ((wide, channels, 1, 1), (wide, 1, 3, wide), (channels, wide, 1, 1)):
        w = g.constant(sparse(g, g.array(F32, (out, inner, kernel, kernel), (-0.5, 0.5))))
        y = one(g, "Conv", y, w, bias_of(g, F32, out), group=groups, pads=[kernel // 2] * 4)
        if g.chance(0.7):
            y = one(g, "Relu", y)
    one(g, "Add", x, y)


@pattern("Quantized", ranks=(2, 4))
def quantized(g: Graph, op: str, dtype: str) -> None:
    """A layer between QuantizeLinear and DequantizeLinear, its weight quantized, one scale or one a channel."""
    require(g.opset >= 13, "scales for channels come with opset 13")
    x = image(g, F32, dims=(2,)) if g.chance(0.5) else g.operand(F32, ranks=(2,))
    is_image = x.rank == 4
    require(x.exact and x.shape[1] <= 33, "only what is exact is quantized")
    outputs = g.choose([1, 3, 8, 9])
    shape = (outputs, x.shape[1], 1, 1) if is_image else (x.shape[1], outputs)
    per_channel = g.chance(0.6)
    axis = 0 if is_image else 1
    scales = g.rng.choice(np.array([0.5, 0.25, 0.03125], F32), (outputs,) if per_channel else ())
    w = g.constant(g.array("int8", shape, (-100, 100)))
    zero = g.parameter(np.zeros(scales.shape, "int8"))
    if g.chance(0.3):  # a float weight that is quantized in the graph
        source = g.constant(g.array(F32, shape, (-8, 8)))
        w = one(g, "QuantizeLinear", source, g.parameter(scales), zero, axis=axis if per_channel else None)
    dq = one(g, "DequantizeLinear", w, g.parameter(scales), zero, axis=axis if per_channel else None)
    if g.chance(0.7):
        step, at = g.parameter(0.0625, F32), g.parameter(3, "uint8")
        x = one(g, "DequantizeLinear", one(g, "QuantizeLinear", x, step, at), step, at)
    y = one(g, "Conv", x, dq) if is_image else one(g, "MatMul", x, dq)
    if g.chance(0.5):
        one(g, "Relu", y)


@pattern("Chain", ranks=(2, 3))
def chain(g: Graph, op: str, dtype: str) -> None:
    """One operator many times over: what is computed from it must not blow up."""
    kind, op = g.choose(["int32", "int64", F32]), "Pow"
    if kind == F32:
        op = g.choose(["Pow", "Asinh", "Atan", "Softplus"])  # none of which carries a small difference far
    x = g.operand(kind, within=(-1, 1) if kind != F32 else (-0.2, 0.2))
    two = [g.constant(np.array(2, kind))] if op == "Pow" else []
    for _ in range(g.choose([2, 4, 8, 24])):
        x = one(g, op, x, *two)
