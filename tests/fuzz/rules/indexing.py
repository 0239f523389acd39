"""Operators that follow indices; those that an input supplies get a twin with one index outside."""

from __future__ import annotations

import numpy as np

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.registry import rule


def indices(g: Graph, shape: tuple[int, ...], extent: int | list[int], *, unique: bool = False) -> Value:
    """Indices of an axis, or of the last axis of several, from either end."""
    kind = g.choose(["int32", "int64"]) if isinstance(extent, int) else "int64"
    high = np.array(extent)
    low = -high if g.opset >= 11 and g.chance(0.4) and not unique else 0 * high
    array = np.array(g.rng.integers(low, high, shape), kind)
    value = g.constant(array) if g.chance(0.4) else g.input(array)
    if value.maker == "input" and array.size:
        bad = array.copy().reshape(-1)
        largest = np.iinfo(kind).max
        bad[int(g.rng.integers(bad.size))] = g.choose([int(high.max()), -int(high.max()) - 1, largest, -largest])
        g.twins.append((value.name, bad.reshape(shape)))
    return value


@rule("Gather", "moving", ranks=(1, 2, 3, 4))
def gather(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    axis = g.axis(x.rank)
    g.apply(
        op, x, indices(g, g.shape(g.choose([0, 1, 2]), 30), x.shape[axis]), axis=axis if g.chance(0.9) or axis else None
    )


@rule("GatherElements", "moving", ranks=(1, 2, 3, 4))
def gather_elements(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    axis = g.axis(x.rank)
    shape = [int(g.rng.integers(1, size + 1)) for size in x.shape]
    shape[axis] = g.choose([1, 2, 5])
    g.apply(op, x, indices(g, tuple(shape), x.shape[axis]), axis=axis)


@rule("GatherND", "moving", ranks=(1, 2, 3, 4))
def gather_nd(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    batch = 1 if g.opset >= 12 and x.rank > 1 and g.chance(0.3) else 0
    depth = int(g.rng.integers(1, x.rank - batch + 1))
    leading = (*x.shape[:batch], *g.choose([(), (3,), (2, 2)]))
    picks = indices(g, (*leading, depth), list(x.shape[batch : batch + depth]))
    g.apply(op, x, picks, batch_dims=batch or None)


@rule("ScatterElements", "moving", ranks=(1, 2, 3, 4))
def scatter_elements(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    axis = g.axis(x.rank)
    shape = [int(g.rng.integers(1, size + 1)) for size in x.shape]
    reduction = g.choose(["none", "add", "mul", "max", "min"]) if g.opset >= 18 else None
    if reduction in (None, "none"):
        shape[axis] = 1  # two writes to one place have no order
    picks = indices(g, tuple(shape), x.shape[axis])
    g.apply(op, x, picks, g.operand(dtype, tuple(shape)), axis=axis, reduction=reduction)


@rule("ScatterND", "moving", ranks=(1, 2, 3, 4))
def scatter_nd(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, ranks=(1, 2, 3, 4))
    depth = int(g.rng.integers(1, x.rank + 1))
    reduction = g.choose(["none", "add", "mul", "max", "min"]) if g.opset >= 18 else None
    count = 1 if reduction in (None, "none") else 3
    picks = indices(g, (count, depth), list(x.shape[:depth]))
    g.apply(op, x, picks, g.operand(dtype, (count, *x.shape[depth:])), reduction=reduction)


@rule("OneHot", "moving", ranks=(0, 1, 2, 3))
def one_hot(g: Graph, op: str, dtype: str) -> None:
    depth = g.choose([1, 3, 7])
    kind = g.choose(["int64", "int32", "float32"])
    shape = g.shape(min(g.rank, 3), 60)
    array = g.array("int64", shape, (-depth - 1, depth + 2)).astype(kind)
    where = g.input(array)
    size = g.parameter(depth if g.chance(0.5) else [depth], "int64")
    g.apply(op, where, size, g.operand(dtype, (2,)), axis=g.axis(len(shape) + 1) if g.chance(0.7) else None)
