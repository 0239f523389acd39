"""Operators that move, repeat, cut or make elements, or tell of shapes."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.elementwise import require
from tests.fuzz.rules.registry import rule


@rule("Reshape", "moving")
def reshape(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    shape = factors(g, x.array.size)
    if shape and g.chance(0.4):
        shape[int(g.rng.integers(len(shape)))] = -1
    elif x.rank == len(shape) and g.chance(0.3):
        shape = [0] * len(shape)
    g.apply(op, x, g.parameter(shape, "int64"))


def factors(g: Graph, size: int) -> list[int]:
    """A shape of so many elements."""
    shape = []
    while size > 1 and len(shape) < 4:
        part = g.choose([d for d in range(1, size + 1) if size % d == 0])
        shape.append(int(part))
        size //= part
    if size > 1 or g.chance(0.3):
        shape.append(size)
    return shape


@rule("Flatten", "moving")
def flatten(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    g.apply(op, x, axis=g.axis(x.rank + 1) if g.chance(0.8) and x.rank else None)


@rule("Squeeze", "moving")
def squeeze(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, fits=lambda v: 1 in v.shape)
    if 1 not in x.shape:
        x = g.new(dtype, (1, *x.shape[1:]))
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    chosen = [int(a) - (x.rank if g.opset >= 11 and g.chance(0.4) else 0) for a in ones[: 1 + int(g.chance(0.4))]]
    with_axes(g, op, x, chosen if g.chance(0.8) else None)


@rule("Unsqueeze", "moving")
def unsqueeze(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(0, 1, 2, 3, 4))
    count = 2 if x.rank < 4 and g.chance(0.3) else 1
    rank = x.rank + count
    chosen = [int(a) - (rank if g.opset >= 11 and g.chance(0.4) else 0) for a in g.rng.permutation(rank)[:count]]
    with_axes(g, op, x, chosen)


def with_axes(
    g: Graph, op: str, x: Value, axes: list[int] | None, *, since: int = 13, **attributes: object
) -> list[Value]:
    """Apply an operator whose axes became an input at an opset."""
    if g.opset < since:
        return g.apply(op, x, axes=axes, **attributes)
    return g.apply(op, x, None if axes is None else g.parameter(axes, "int64"), **attributes)


@rule("Transpose", "moving")
def transpose(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    g.apply(op, x, perm=[int(a) for a in g.rng.permutation(x.rank)] if x.rank and g.chance(0.85) else None)


@rule("Concat", "moving", ranks=(1, 2, 3, 4, 5))
def concat(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    axis = g.axis(x.rank)
    others = []
    for _ in range(int(g.rng.integers(0, 4))):
        shape = list(x.shape)
        shape[axis] = min(g.size(), 9)
        others.append(x if g.chance(0.15) else g.operand(dtype, shape))
    operands = [x, *others] if g.chance(0.6) else [*others, x]
    g.apply(op, *operands, axis=axis)


@rule("Split", "moving", ranks=(1, 2, 3, 4, 5))
def split(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    axis = g.axis(x.rank)
    extent = x.shape[axis]
    parts = [extent] if extent == 1 else [1, extent - 1] if g.chance(0.6) else [extent // 2, extent - extent // 2]
    if g.opset >= 18 and g.chance(0.3):
        g.apply(op, x, outputs=len(parts), axis=axis, num_outputs=len(parts))
    elif g.opset >= 13:
        g.apply(op, x, g.parameter(parts, "int64"), outputs=len(parts), axis=axis)
    else:
        g.apply(op, x, outputs=len(parts), axis=axis, split=parts)


@rule("Slice", "moving", ranks=(1, 2, 3, 4, 5))
def slices(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    axes = g.axes(x.rank)
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = x.shape[axis]
        a, b = sorted(int(n) for n in g.rng.integers(0, extent + 1, 2))
        a, b = (0, extent) if a == b else (a, b)
        step = int(g.choose([1, 1, 2, 3])) if g.opset >= 10 else 1
        if g.opset >= 10 and g.chance(0.25):
            a, b, step = b - 1, (a - 1 if a else -extent - 1), -step
        elif g.chance(0.3):
            a, b = a - extent, (2**31 - 1 if b == extent else b)
        starts.append(a)
        ends.append(b)
        steps.append(step)
    if g.opset < 10:
        g.apply(op, x, starts=starts, ends=ends, axes=axes)
        return
    kind = g.choose(["int32", "int64"])
    optional = [axes, steps] if any(s != 1 for s in steps) or g.chance(0.5) else [axes]
    g.apply(op, x, *(g.parameter(part, kind) for part in (starts, ends, *optional)))


@rule("Tile", "moving", ranks=(1, 2, 3, 4, 5))
def tile(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    g.apply(op, x, g.parameter(g.rng.integers(1, 4, x.rank), "int64"))


@rule("Pad", "moving", ranks=(1, 2, 3, 4, 5))
def pad(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    modes = ["constant", "constant", "reflect", "edge"] + (["wrap"] if g.opset >= 19 else [])
    mode = g.choose(modes)
    pads = g.rng.integers(0, 3, 2 * x.rank)
    if mode == "reflect":
        pads = np.minimum(pads, [s - 1 for s in x.shape] * 2)
    elif mode == "wrap":
        pads = np.minimum(pads, [*x.shape, *x.shape])
    elif mode == "constant" and g.chance(0.2):
        pads = np.where([s > 3 for s in x.shape] * 2, pads - 1, pads)
    if g.opset < 11:
        g.apply(op, x, mode=mode, pads=[int(p) for p in pads], value=0.5 if g.chance(0.5) else None)
        return
    value = None
    if mode == "constant" and g.chance(0.5):
        value = g.new(dtype, ())
    axes = None
    if g.opset >= 18 and g.chance(0.4):
        chosen = g.axes(x.rank)
        pads = np.concatenate([pads[[a % x.rank for a in chosen]], pads[[x.rank + a % x.rank for a in chosen]]])
        axes = g.parameter(chosen, "int64")
    g.apply(op, x, g.parameter(pads, "int64"), value, axes, mode=mode)


@rule("DepthToSpace SpaceToDepth", "moving", ranks=(4,))
def depth(g: Graph, op: str, dtype: str) -> None:
    block = g.choose([1, 2, 3])
    batch, channels, height, width = g.choose([1, 2]), g.choose([1, 2, 3]), g.choose([1, 2, 5]), g.choose([1, 3, 4])
    if op == "DepthToSpace":
        shape = (batch, channels * block**2, height, width)
        mode = g.choose(["DCR", "CRD", None]) if g.opset >= 11 else None
        g.apply(op, g.operand(dtype, shape), blocksize=block, mode=mode)
    else:
        g.apply(op, g.operand(dtype, (batch, channels, height * block, width * block)), blocksize=block)


@rule("Expand", "moving")
def expand(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    shape = [g.choose([1, 2, 3]) if size == 1 else g.choose([1, size]) for size in x.shape]
    shape = (
        shape[int(g.rng.integers(len(shape) + 1)) :] if g.chance(0.2) else [*g.choose([[], [], [2], [1, 3]]), *shape]
    )
    require(len(shape) <= 5, "too many axes")
    g.apply(op, x, g.parameter(shape, "int64"))


@rule("Trilu", "moving", ranks=(2, 3, 4))
def trilu(g: Graph, op: str, dtype: str) -> None:
    k = g.parameter(int(g.rng.integers(-4, 5)), "int64") if g.chance(0.7) else None
    g.apply(op, g.operand(dtype, ranks=(2, 3, 4)), k, upper=g.choose([0, 1, None]))


@rule("Shape Size", "moving")
def sizes(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    if op == "Shape" and g.opset >= 15 and g.chance(0.5) and x.rank > 1:
        g.apply(op, x, start=-x.rank + 1 if g.chance(0.5) else 0, end=g.choose([None, x.rank]))
    else:
        g.apply(op, x)


@rule("ConstantOfShape", "moving")
def constant_of_shape(g: Graph, op: str, dtype: str) -> None:
    value = helper.make_tensor("value", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [1], [1])
    made = g.apply(op, g.parameter(g.shape(most=500), "int64"), value=value)[0]
    mixed(g, made)


@rule("Constant", "moving")
def constant(g: Graph, op: str, dtype: str) -> None:
    array = g.array(dtype, g.shape(most=200))
    made = g.apply(op, value=numpy_tensor(array))[0]
    mixed(g, made)


def mixed(g: Graph, made: Value) -> None:
    """Let something that an input decides read a value made from nothing."""
    if g.chance(0.6) and g.opset >= 9:
        other = g.operand(made.dtype, made.shape)
        g.apply("Where", g.new("bool", made.shape), made, other)


def numpy_tensor(array: np.ndarray) -> object:
    """A tensor as an attribute."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor("value", kind, array.shape, array.tobytes(), raw=True)


@rule("Range", "moving")
def ranged(g: Graph, op: str, dtype: str) -> None:
    start, step = g.choose([0, 1, -2]), g.choose([1, 2, -1])
    made = g.apply(op, *(g.parameter(n, dtype) for n in (start, start + step * g.choose([1, 3, 7, 9]), step)))[0]
    mixed(g, made)


@rule("EyeLike", "moving", ranks=(2,))
def eye(g: Graph, op: str, dtype: str) -> None:
    to = g.choose(["float32", "int32", "int64", None])
    kind = None if to is None else helper.np_dtype_to_tensor_dtype(np.dtype(to))
    g.apply(op, g.operand(dtype, ranks=(2,)), k=g.choose([None, 0, 1, -2]), dtype=kind)


@rule("ReverseSequence", "moving", ranks=(2, 3, 4))
def reverse_sequence(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(2, 3, 4))
    time = g.choose([0, 1])
    lengths = g.array("int64", (x.shape[1 - time],), (1, x.shape[time] + 1))
    value = g.constant(lengths) if g.chance(0.4) else g.input(lengths)
    if value.maker == "input":
        bad = lengths.copy()
        bad[0] = x.shape[time] + g.choose([1, 1000, 2**40])
        g.twins.append((value.name, bad))
    g.apply(op, x, value, time_axis=time, batch_axis=1 - time)
