"""Softmax and LogSoftmax over one axis."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels import math
from edgesparse.backends.cpu.kernels.operands import operand
from edgesparse.backends.cpu.kernels.vectors import (
    Fold,
    add,
    each_vector,
    fold_all,
    fold_lanes,
    keep_first,
    maximum,
    reduce_run,
    store_first,
)
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.devices.targets import Target
from edgesparse.numerics import TAKEN, Element

_TILE_ELEMENTS = 2048  # at least about
_INFINITY = float("inf")


def lower_softmax(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower a Softmax or LogSoftmax, None for any other node.

    Before opset 13 all axes from `axis` on count as one.
    """
    if node.op_type not in ("Softmax", "LogSoftmax"):
        return None
    x, y = operand(node, 0), tensor(node.outputs[0])
    flattened = node.graph is not None and node.graph.opset_imports.get("", 13) < 13
    if x.element not in TAKEN or x.size == 0 or not x.shape:
        return None
    attribute = node.attributes.get("axis")
    default = 1 if flattened else -1
    axis = (default if attribute is None else attribute.as_int()) % len(x.shape)
    outer, count, inner = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    if flattened:
        count, inner = count * inner, 1
    kernel = softmax(outer, count, inner, node.op_type == "LogSoftmax", x.element, target)
    return [Call(str(node.name), node.op_type, kernel, (x,), (y,))]


def softmax(outer: int, count: int, inner: int, logarithm: bool, element: Element, target: Target) -> Kernel:
    """Build the kernel. Reads: x; writes: y; both [outer, count, inner], and may share memory.

    Over-read: x, below 64 bytes. Order: sums in chains of lanes over count, then pairwise (inner = 1);
        ascending (inner > 1).
    """
    return (_rows if inner == 1 else _columns)(outer, count, inner, logarithm, element, target)


def _rows(outer: int, count: int, inner: int, logarithm: bool, element: Element, target: Target) -> Kernel:
    """Lanes along the axis; a short row stays in registers, a long one is read again."""
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(count)
    rows = min(outer, -(-_TILE_ELEMENTS // count))
    short = count <= lanes.count * (target.cpu.registers // 2)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        with T.serial(T.bind(tile * rows), T.bind(T.min((tile + 1) * rows, outer))) as r:
            (_short_row if short else _long_row)(x, y, T.bind(r * count), count, logarithm, lanes)

    symbol = kernel_symbol("log_softmax" if logarithm else "softmax", element, f"o{outer}n{count}", target)
    return build_kernel(symbol, [Param(outer * count, element)] * 2, -(-outer // rows), body, inplace=((0, 1),))


def _short_row(x: Buffer, y: Buffer, start: Expr, count: int, logarithm: bool, lanes: Lanes) -> None:
    places = range(0, count, lanes.count)
    values = [keep_first(math.hold(lanes.load(x, start + i)), count - i, -_INFINITY) for i in places]
    peak = math.hold(lanes.splat(fold_lanes(fold_all(values, maximum), maximum)))
    values = [math.hold(value - peak) for value in values]
    powers = [math.exp_nonpositive(value) for value in values]
    finish = _finish(logarithm, fold_lanes(fold_all(powers, add), add), lanes)
    results = [finish(value) for value in (values if logarithm else powers)]
    for i, result in zip(places, results, strict=True):
        store_first(y, start + i, result, min(count - i, lanes.count))


def _long_row(x: Buffer, y: Buffer, start: Expr, count: int, logarithm: bool, lanes: Lanes) -> None:
    """Three passes; the exponentials of Softmax wait in y for their sum."""
    peak = reduce_run(count, lanes, lambda i, _: lanes.load(x, start + i), maximum, -_INFINITY)
    peak = math.hold(lanes.splat(fold_lanes(peak, maximum)))

    def power(i: Expr | int, valid: int) -> Expr:
        value = math.exp_nonpositive(math.hold(lanes.load(x, start + i) - peak))
        if not logarithm:
            store_first(y, start + i, value, valid)
        return value

    finish = _finish(logarithm, fold_lanes(reduce_run(count, lanes, power, add, 0.0), add), lanes)

    def last(i: Expr | int, valid: int) -> None:
        value = lanes.load(x, start + i) - peak if logarithm else lanes.load(y, start + i)
        store_first(y, start + i, finish(math.hold(value)), valid)

    each_vector(count, lanes, last)


def _columns(outer: int, count: int, inner: int, logarithm: bool, element: Element, target: Target) -> Kernel:
    """Lanes along the axes behind; the exponentials of Softmax wait in y for their sum."""
    lanes = Lanes(target.cpu.lanes(element), element).narrowed(inner)
    vectors = -(-inner // lanes.count)

    def column(x: Buffer, y: Buffer, start: Expr, valid: int) -> None:
        def fold(value: Callable[[Expr], Expr], fold: Fold, first: float) -> Expr:
            acc = lanes.sums()
            lanes.store(acc, 0, lanes.splat(first))
            with T.serial(0, count) as k:
                lanes.store(acc, 0, fold(lanes.load(acc, 0), value(T.bind(start + k * inner))))
            return math.hold(lanes.load(acc, 0))

        def power(place: Expr) -> Expr:
            value = math.exp_nonpositive(math.hold(lanes.load(x, place) - peak))
            if not logarithm:
                store_first(y, place, value, valid)
            return value

        peak = fold(lambda place: lanes.load(x, place), maximum, -_INFINITY)
        finish = _finish(logarithm, fold(power, add, 0.0), lanes)
        with T.serial(0, count) as k:
            place = T.bind(start + k * inner)
            value = lanes.load(x, place) - peak if logarithm else lanes.load(y, place)
            store_first(y, place, finish(math.hold(value)), valid)

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        image, vector = T.bind(T.floordiv(tile, vectors)), T.bind(T.floormod(tile, vectors))
        start = T.bind(image * (count * inner) + vector * lanes.count)
        tail = inner - (vectors - 1) * lanes.count
        if tail == lanes.count:
            column(x, y, start, tail)
            return
        with T.If(vector == vectors - 1):
            with T.Then():
                column(x, y, start, tail)
            with T.Else():
                column(x, y, start, lanes.count)

    symbol = kernel_symbol("log_softmax" if logarithm else "softmax", element, f"o{outer}n{count}i{inner}", target)
    return build_kernel(symbol, [Param(outer * count * inner, element)] * 2, outer * vectors, body, inplace=((0, 1),))


def _finish(logarithm: bool, total: Expr, lanes: Lanes) -> Callable[[Expr], Expr]:
    """From x - max (LogSoftmax) or its exponential (Softmax) to the result, given the sum of exponentials."""
    if logarithm:
        shift = math.hold(_spread(math.log(total), lanes))
        return lambda value: math.hold(value - shift)
    scale = math.hold(_spread(math.hold(math.splat(1.0, total) / total), lanes))
    return lambda value: math.hold(value * scale)


def _spread(value: Expr, lanes: Lanes) -> Expr:
    """A scalar in every lane; a vector as it is."""
    return value if math.lanes_of(value) == lanes.count else lanes.splat(value)
