"""Mean, sum, maximum and minimum over neighbouring axes: global pooling and the Reduce operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.operands import operand
from edgesparse.backends.cpu.kernels.vectors import fold_lanes, reduce_run, store_first
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.devices.targets import Target
from edgesparse.numerics import F32, TAKEN, Element

_CHAINS = 4  # accumulators side by side hide the latency of an addition
_TILE_ELEMENTS = 4096  # of input, at least about


@dataclass(frozen=True)
class Reduction:
    """How to fold, from where, and whether the result is divided by the count."""

    name: str
    start: float
    mean: bool = False

    def fold(self, a: Expr, b: Expr) -> Expr:
        """One value from two."""
        return {"sum": lambda: a + b, "max": lambda: T.max(a, b), "min": lambda: T.min(a, b)}[self.name]()


LOWEST = float(np.finfo(F32.numpy).min)
"""The maximum of no pixel, and of -inf, as in ONNX Runtime."""

_INFINITY = float("inf")
_REDUCTIONS = {
    "GlobalAveragePool": Reduction("sum", 0.0, mean=True),
    "GlobalMaxPool": Reduction("max", LOWEST),
    "ReduceMean": Reduction("sum", 0.0, mean=True),
    "ReduceSum": Reduction("sum", 0.0),
    "ReduceMax": Reduction("max", -_INFINITY),
    "ReduceMin": Reduction("min", _INFINITY),
}


def lower_reduce(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower a reduction over neighbouring axes; None for any other node."""
    reduction = _REDUCTIONS.get(node.op_type)
    if reduction is None:
        return None
    x, y = operand(node, 0), tensor(node.outputs[0])
    axes = _axes(node, len(x.shape))
    if axes is None or x.element not in TAKEN or x.size == 0:
        return None
    wide = [axis for axis in axes if x.shape[axis] > 1]
    if not wide:
        return None
    first, last = wide[0], wide[-1]
    if any(x.shape[axis] > 1 and axis not in axes for axis in range(first, last)):
        return None
    outer, count, inner = prod(x.shape[:first]), prod(x.shape[first : last + 1]), prod(x.shape[last + 1 :])
    kernel = reduce(reduction, outer, count, inner, x.element, target)
    return [Call(str(node.name), node.op_type, kernel, (x,), (y,))]


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    """Reduced axes, ascending; None when they are computed at run time or there are none."""
    if node.op_type.startswith("Global"):
        return list(range(2, rank))
    given: Sequence[int] | None = None
    if "axes" in node.attributes:
        given = node.attributes["axes"].as_ints()
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        held = constant(node.inputs[1])
        if held is None:
            return None
        given = [int(axis) for axis in held.ravel()]
    if not given:
        keep = node.attributes.get("noop_with_empty_axes")
        return None if keep is not None and keep.as_int() else list(range(rank))
    return sorted(axis % rank for axis in given)


def reduce(reduction: Reduction, outer: int, count: int, inner: int, element: Element, target: Target) -> Kernel:
    """Build the kernel. Reads: x [outer, count, inner]; writes: y [outer, inner].

    Over-read: x, below 64 bytes. Order: `_CHAINS` chains of lanes over count, then pairwise (inner = 1);
        ascending (inner > 1).
    """
    build = _rows if inner == 1 else _columns
    return build(reduction, outer, count, inner, element, target)


def _scaled(reduction: Reduction, value: Expr, count: int, lanes: Lanes) -> Expr:
    return value * lanes.splat(1.0 / count) if reduction.mean else value


def _rows(reduction: Reduction, outer: int, count: int, inner: int, element: Element, target: Target) -> Kernel:
    """Lanes along the reduced axis."""
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(count)
    rows = min(outer, -(-_TILE_ELEMENTS // count))

    def row(x: Buffer, y: Buffer, r: Expr) -> None:
        x0 = T.bind(r * count)
        value = reduce_run(count, lanes, lambda i, _: lanes.load(x, x0 + i), reduction.fold, reduction.start)
        T.buffer_store(y, _scaled(reduction, fold_lanes(value, reduction.fold), count, Lanes(1, element)), [r])

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        with T.serial(T.bind(tile * rows), T.bind(T.min((tile + 1) * rows, outer))) as r:
            row(x, y, r)

    symbol = kernel_symbol(f"reduce_{reduction.name}", element, f"o{outer}n{count}", target, reduction)
    return build_kernel(symbol, [Param(outer * count, element), Param(outer, element)], -(-outer // rows), body)


def _columns(reduction: Reduction, outer: int, count: int, inner: int, element: Element, target: Target) -> Kernel:
    """Lanes along the axes behind the reduced one."""
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(inner)
    chunk = _CHAINS * lanes.count
    chunks = -(-inner // chunk)

    def columns(x: Buffer, y: Buffer, image: Expr, column: Expr, width: int) -> None:
        places = range(0, width, lanes.count)
        accs = [lanes.sums() for _ in places]
        for acc in accs:
            lanes.store(acc, 0, lanes.splat(reduction.start))
        x0 = T.bind(image * (count * inner) + column)
        with T.serial(0, count) as k:
            for acc, i in zip(accs, places, strict=True):
                lanes.store(acc, 0, reduction.fold(lanes.load(acc, 0), lanes.load(x, x0 + k * inner + i)))
        for acc, i in zip(accs, places, strict=True):
            value = math.hold(_scaled(reduction, lanes.load(acc, 0), count, lanes))
            store_first(y, T.bind(image * inner + column + i), value, min(width - i, lanes.count))

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        image, number = T.bind(T.floordiv(tile, chunks)), T.bind(T.floormod(tile, chunks))
        last = inner - (chunks - 1) * chunk
        if last == chunk:
            columns(x, y, image, T.bind(number * chunk), chunk)
            return
        with T.If(number == chunks - 1):
            with T.Then():
                columns(x, y, image, T.bind(number * chunk), last)
            with T.Else():
                columns(x, y, image, T.bind(number * chunk), chunk)

    symbol = kernel_symbol(f"reduce_{reduction.name}", element, f"o{outer}n{count}i{inner}", target, reduction)
    return build_kernel(
        symbol, [Param(outer * count * inner, element), Param(outer * inner, element)], outer * chunks, body
    )
