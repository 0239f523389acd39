"""Operators whose result depends on an order: running sums and products, the k largest, writes to chosen places."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import onnx_ir as ir
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.relax.checks import operand
from edgesparse.backends.cpu.relax.defined import define_value, wrap
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.devices.targets import Target
from edgesparse.errors import LowerError
from edgesparse.numerics import I64, Element


def cumulate(node: ir.Node, target: Target) -> list[Call]:
    """CumSum and CumProd."""
    source, out = operand(node, 0), tensor(node.outputs[0])
    axis = _single(node, 1)
    kernel = _cumulate_kernel(
        out,
        axis % len(out.shape),
        product=node.op_type == "CumProd",
        exclusive=bool(node.attributes.get_int("exclusive", 0)),
        reverse=bool(node.attributes.get_int("reverse", 0)),
    )
    return [Call(str(node.name or out.name), node.op_type, kernel, (source,), (out,))]


def _cumulate_kernel(out: Tensor, axis: int, *, product: bool, exclusive: bool, reverse: bool) -> Kernel:
    """Shapes: x and y [outer, n, inner]. A tile is one of `outer`. Order: as the running result demands.

    The running results of half precision are kept in the wider type, and rounded where they are written.
    """
    outer, n, inner = _split(out.shape, axis)
    half = out.dtype == "float16"
    wide = out.element.wide if half else out.element
    start = tirx.const(1 if product else 0, wide.name)

    def body(tile: Expr, x: Buffer, y: Buffer, *kept: Buffer) -> None:
        first = T.bind(tile * (n * inner))
        with T.serial(0, n) as step, T.serial(0, inner) as column:
            place = (n - 1 - step if reverse else step) * inner + column
            before = place + inner if reverse else place - inner
            running = T.if_then_else(step == 0, start, kept[0][column] if half else y[first + before])
            taken = T.cast(x[first + (before if exclusive else place)], wide.name)
            if exclusive:
                taken = T.if_then_else(step == 0, start, taken)
            result = T.bind(wrap(running * taken if product else running + taken))
            for row in kept:
                T.buffer_store(row, result, [column])
            T.buffer_store(y, T.cast(result, out.dtype), [first + place])

    op = "cumulate_product" if product else "cumulate_sum"
    symbol = kernel_symbol(op, out.element, f"o{outer}n{n}i{inner}", None, exclusive, reverse)
    size = Param(out.size, out.element)
    kept = Param(inner, wide) if half else None
    return build_kernel(symbol, [size, size], outer, body, scratch=kept)


def top_k(node: ir.Node, target: Target) -> list[Call]:
    """TopK: always sorted; equal values in the order of their indices; NaN is larger than any number."""
    source, values, places = operand(node, 0), tensor(node.outputs[0]), tensor(node.outputs[1])
    shape = tensor(node.inputs[0]).shape  # type: ignore[arg-type]
    axis = node.attributes.get_int("axis", -1) % len(shape)
    kernel = _top_k_kernel(shape, axis, _single(node, 1), values.element, bool(node.attributes.get_int("largest", 1)))
    return [Call(str(node.name or values.name), node.op_type, kernel, (source,), (values, places))]


def _top_k_kernel(shape: tuple[int, ...], axis: int, k: int, of: Element, largest: bool) -> Kernel:
    """Shapes: x [outer, n, inner], values and places [outer, k, inner]. A tile is one of `outer`.

    The j-th result is the first in order of all that come after the (j-1)-th: no memory but the results.
    """
    outer, n, inner = _split(shape, axis)
    dtype = of.name

    def less(a: Expr, b: Expr) -> Expr:
        below = a < b
        return tirx.any(below, tirx.all(tirx.isnan(b), tirx.Not(tirx.isnan(a)))) if dtype.startswith("float") else below

    def body(tile: Expr, x: Buffer, values: Buffer, places: Buffer) -> None:
        best = T.alloc_buffer((1,), dtype, scope="global")
        at = T.alloc_buffer((1,), "int64", scope="global")
        with T.serial(0, inner) as column, T.serial(0, k) as j:
            result = T.bind((tile * k + j) * inner + column)
            last = T.bind((tile * k + T.max(j - 1, 0)) * inner + column)
            T.buffer_store(at, T.int64(-1), [0])
            T.buffer_store(best, tirx.const(0, dtype), [0])
            with T.serial(0, n) as i:
                value = T.bind(x[(tile * n + i) * inner + column])
                index = T.bind(T.cast(i, "int64"))
                previous = T.bind(T.if_then_else(j == 0, value, values[last]))
                place = T.bind(T.if_then_else(j == 0, T.int64(-1), places[last]))
                beyond = less(value, previous) if largest else less(previous, value)
                equal = tirx.all(tirx.Not(less(value, previous)), tirx.Not(less(previous, value)))
                left = tirx.any(beyond, tirx.all(equal, index > place))
                better = tirx.any(at[0] < 0, less(best[0], value) if largest else less(value, best[0]))
                with T.If(tirx.all(left, better)), T.Then():
                    T.buffer_store(best, value, [0])
                    T.buffer_store(at, index, [0])
            T.buffer_store(values, best[0], [result])
            T.buffer_store(places, at[0], [result])

    params = [Param(prod(shape), of), Param(outer * k * inner, of), Param(outer * k * inner, I64)]
    return build_kernel(kernel_symbol("top_k", of, f"o{outer}n{n}i{inner}k{k}", None, largest), params, outer, body)


def scatter_elements(node: ir.Node, target: Target) -> list[Call]:
    """ScatterElements: where two updates have one place, the later comes last."""
    reads, out = [operand(node, position) for position in range(3)], tensor(node.outputs[0])
    indices = tensor(node.inputs[1])  # type: ignore[arg-type]
    axis = node.attributes.get_int("axis", 0) % len(out.shape)
    kernel = _scatter_kernel(out, indices, axis, node.attributes.get_string("reduction", "none"))
    return [Call(str(node.name or out.name), node.op_type, kernel, tuple(reads), (out,))]


def _scatter_kernel(out: Tensor, indices: Tensor, axis: int, reduction: str) -> Kernel:
    """Shapes: x and y as `out`, places and updates as `indices`. One tile. Order: row-major over the updates."""
    strides = [prod(out.shape[at + 1 :]) for at in range(len(out.shape))]
    inner = [prod(indices.shape[at + 1 :]) for at in range(len(out.shape))]
    reduce = (_OF_BOOLEANS if out.dtype == "bool" else _REDUCTIONS)[reduction]

    def body(tile: Expr, x: Buffer, places: Buffer, updates: Buffer, y: Buffer) -> None:
        with T.serial(0, out.size) as i:
            T.buffer_store(y, x[i], [i])
        with T.grid(1, *indices.shape) as (_, *at):
            source = T.bind(sum(step * stride for step, stride in zip(at, inner, strict=True)))
            chosen = T.bind(T.cast(places[source], "int32"))
            there = tirx.Select(chosen < 0, chosen + out.shape[axis], chosen)
            steps = [there if number == axis else step for number, step in enumerate(at)]
            place = T.bind(sum(step * stride for step, stride in zip(steps, strides, strict=True)))
            T.buffer_store(y, wrap(define_value(reduce(y[place], updates[source]))), [place])

    whole = Param(out.size, out.element)
    params = [whole, Param(indices.size, indices.element), Param(indices.size, out.element), whole]
    facts = (out.dtype, out.shape, indices.dtype, indices.shape, axis, reduction)
    return build_kernel(kernel_symbol("scatter", out.element, f"n{indices.size}", None, *facts), params, 1, body)


_REDUCTIONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "none": lambda _, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": T.max,
    "min": T.min,
}
_OF_BOOLEANS = {**_REDUCTIONS, **dict.fromkeys(("add", "max"), tirx.Or), **dict.fromkeys(("mul", "min"), tirx.And)}


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _single(node: ir.Node, position: int) -> int:
    array = constant(node.inputs[position])
    if array is None or array.size != 1:
        raise LowerError(f"{node.op_type} {node.name!r}: its input {position} must be a constant")
    return int(array.reshape(-1)[0])
