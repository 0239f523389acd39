"""Reductions, norms, and what runs along an axis."""

from __future__ import annotations

import numpy as np

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.registry import rule
from tests.fuzz.rules.shaping import with_axes


@rule(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare",
    "axis",
)
def reduce(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, within=(0.2, 9.0) if op == "ReduceLogSum" else None)
    since = 13 if op == "ReduceSum" else 18
    empty = {"noop_with_empty_axes": 1} if g.opset >= since and g.chance(0.1) else {}
    axes = g.axes(x.rank) if x.rank and g.chance(0.8) else None
    with_axes(g, op, x, axes or None, since=since, keepdims=g.choose([0, 1, None]), **empty)


@rule("ArgMax ArgMin", "axis")
def arg(g: Graph, op: str, dtype: str) -> None:
    x = extreme(g, dtype) if g.chance(0.4) else g.operand(dtype)
    last = g.choose([0, 1, None]) if g.opset >= 12 else None
    axis = g.axis(x.rank) if x.rank and g.chance(0.85) else None
    g.apply(op, x, axis=axis, keepdims=g.choose([0, 1, None]), select_last_index=last)


def extreme(g: Graph, dtype: str) -> Value:
    """A new input of what a type holds at its ends: its limits, or infinities; where NaN is, is not agreed on."""
    array = g.array(dtype, g.shape())
    kind = array.dtype.kind
    if kind in "iu":
        limits = np.iinfo(dtype)
        array = g.rng.choice(np.array([limits.min, limits.max], dtype), array.shape)
    elif kind == "f":
        array = g.rng.choice(np.array([np.inf, -np.inf, 1.0], dtype), array.shape, p=[0.3, 0.5, 0.2])
    return g.input(np.asarray(array, dtype))


@rule("CumSum CumProd", "axis", ranks=(1, 2, 3, 4, 5))
def cumulate(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4, 5))
    axis = g.parameter(g.axis(x.rank), g.choose(["int32", "int64"]))
    g.apply(op, x, axis, exclusive=g.choose([0, 1, None]), reverse=g.choose([0, 1, None]))


@rule("TopK", "axis", ranks=(1, 2, 3, 4))
def top(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    axis = g.axis(x.rank)
    k = int(g.rng.integers(1, x.shape[axis] + 1))
    if g.opset < 10:
        g.apply(op, x, outputs=2, axis=axis, k=k)
        return
    sides = {"largest": g.choose([0, 1, None]), "sorted": 1} if g.opset >= 11 else {}
    g.apply(op, x, g.parameter([k], "int64"), outputs=2, axis=axis, **sides)


@rule("Softmax LogSoftmax Hardmax", "axis", ranks=(1, 2, 3, 4))
def softmax(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    g.apply(op, x, axis=g.axis(x.rank) if g.chance(0.7) else None)


@rule("LpNormalization", "axis", ranks=(1, 2, 3, 4))
def lp_norm(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    g.apply(op, x, axis=g.axis(x.rank) if g.chance(0.8) else None, p=g.choose([1, 2, None]))


@rule("LayerNormalization RMSNormalization", "axis", ranks=(1, 2, 3, 4))
def layer_norm(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    axis = g.axis(x.rank) if g.chance(0.6) else None
    shape = x.shape[-1 if axis is None else axis :] if axis is None or axis % x.rank else x.shape
    gains = [g.new(dtype, shape, (0.5, 1.5))]
    if op == "LayerNormalization" and g.chance(0.6):
        gains.append(g.new(dtype, shape))
    g.apply(op, x, *gains, axis=axis, epsilon=1e-3 if g.chance(0.5) else None)


@rule("GroupNormalization", "axis", ranks=(3, 4))
def group_norm(g: Graph, op: str, dtype: str) -> None:
    groups = g.choose([1, 2, 3])
    shape = (g.choose([1, 2]), groups * g.choose([1, 2, 4]), *(g.choose([1, 3, 5]) for _ in range(g.choose([1, 2]))))
    size = shape[1] if g.opset >= 21 else groups
    gains = [g.constant(g.array(dtype, (size,), (0.5, 1.5))) for _ in range(2)]
    g.apply(op, g.operand(dtype, shape), *gains, num_groups=groups)


@rule("InstanceNormalization", "axis", ranks=(3, 4, 5))
def instance_norm(g: Graph, op: str, dtype: str) -> None:
    spatial = (1,) * g.choose([1, 2]) if g.chance(0.3) else tuple(g.size() for _ in range(g.choose([1, 2])))
    x = g.operand(dtype, (g.choose([1, 2]), g.choose([1, 3, 8]), *(min(s, 9) for s in spatial)))
    gains = [g.constant(g.array(dtype, (x.shape[1],), (-1.5, 1.5))) for _ in range(2)]
    g.apply(op, x, *gains, epsilon=1e-3 if g.chance(0.5) else None)


@rule("BatchNormalization", "axis", ranks=(2, 3, 4, 5))
def batch_norm(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(2, 3, 4, 5))
    statistics(g, op, x)


def statistics(g: Graph, op: str, x: Value) -> None:
    """BatchNormalization of a value, with constant statistics."""
    arrays = [g.array(x.dtype, (x.shape[1],), within) for within in ((0.5, 1.5), (-1, 1), (-1, 1), (0.5, 2.0))]
    g.apply(op, x, *(g.constant(array) for array in arrays), epsilon=1e-3 if g.chance(0.5) else None)


@rule("LRN", "axis", ranks=(3, 4))
def lrn(g: Graph, op: str, dtype: str) -> None:
    numbers = {n: float(g.rng.uniform(0.1, 1.0)) for n in ("alpha", "beta", "bias") if g.chance(0.5)}
    g.apply(op, g.operand(dtype, ranks=(3, 4)), size=g.choose([1, 2, 3, 5]), **numbers)


@rule("MeanVarianceNormalization", "axis", ranks=(3, 4))
def mean_variance(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(3, 4))
    g.apply(op, x, axes=sorted(a % x.rank for a in g.axes(x.rank)) if x.rank != 4 or g.chance(0.5) else None)
