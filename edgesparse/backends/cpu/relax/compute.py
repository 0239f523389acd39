"""Operators written as tensor expressions: what TVM's importer lacks and simpler ONNX operators cannot say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from tvm import te, tirx
from tvm.ir import Expr

from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.relax.checks import operand
from edgesparse.backends.cpu.relax.emit import emit_calls
from edgesparse.backends.cpu.relax.importer import TirCall
from edgesparse.backends.cpu.relax.schedule import schedule
from edgesparse.backends.cpu.tensors import ints, tensor
from edgesparse.devices.targets import Target
from edgesparse.nodes import padding
from edgesparse.numerics import element
from edgesparse.program import Bound, Constant

Lowering = Callable[[ir.Node, Target], list[Call]]


class Expression:
    """A node under construction as tensor expressions: its inputs, constant tables, and its results."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self._reads: list[tuple[te.Tensor, Tensor | Constant]] = []

    def input(self, position: int) -> te.Tensor:
        """An input of the node."""
        return self._placeholder(tensor(self.node.inputs[position]), operand(self.node, position))

    def table(self, array: np.ndarray, bound: Bound | None = None) -> te.Tensor:
        """A constant array; one that is followed has a bound."""
        held = Constant(np.ascontiguousarray(array), bound)
        return self._placeholder(Tensor("", array.shape, element(array.dtype)), held)

    def _placeholder(self, like: Tensor, memory: Tensor | Constant) -> te.Tensor:
        placeholder = te.placeholder(like.shape, like.dtype, f"x{len(self._reads)}")
        self._reads.append((placeholder, memory))
        return placeholder

    def calls(self, results: Sequence[te.Tensor], target: Target) -> list[Call]:
        """The kernel calls that compute `results`, the node's first outputs."""
        placeholders = [placeholder for placeholder, _ in self._reads]
        func = te.create_prim_func([*placeholders, *results])
        writes = tuple(tensor(value) for value in self.node.outputs[: len(results)])
        call = TirCall(func, tuple(memory for _, memory in self._reads), writes)
        name = str(self.node.name or writes[0].name)
        return emit_calls(schedule(func), call, name, self.node.op_type, target)


Definition = Callable[[Expression], te.Tensor | Sequence[te.Tensor]]


def lowering(define: Definition) -> Lowering:
    """The lowering of an operator that `define` writes as tensor expressions."""

    def lower(node: ir.Node, target: Target) -> list[Call]:
        expression = Expression(node)
        results = define(expression)
        return expression.calls([results] if isinstance(results, te.Tensor) else list(results), target)

    return lower


def _from_start(index: Expr, size: int) -> Expr:
    """An index of [-size, size) counted from the start; `checks` keeps others from here."""
    return tirx.Select(index < 0, index + tirx.const(size, index.ty.dtype), index)


def _gather(e: Expression) -> te.Tensor:
    data, indices = e.input(0), e.input(1)
    rank = len(indices.shape)
    axis = e.node.attributes.get_int("axis", 0) % len(data.shape)

    def element(*at: Expr) -> Expr:
        chosen = _from_start(indices(*at[axis : axis + rank]), int(data.shape[axis]))
        return data(*at[:axis], chosen, *at[axis + rank :])

    return te.compute(tensor(e.node.outputs[0]).shape, element, "gather")


def _gather_elements(e: Expression) -> te.Tensor:
    data, indices = e.input(0), e.input(1)
    axis = e.node.attributes.get_int("axis", 0) % len(data.shape)

    def element(*at: Expr) -> Expr:
        return data(*at[:axis], _from_start(indices(*at), int(data.shape[axis])), *at[axis + 1 :])

    return te.compute(indices.shape, element, "gather_elements")


def _gather_nd(e: Expression) -> te.Tensor:
    data, indices = e.input(0), e.input(1)
    first, rank, columns = e.node.attributes.get_int("batch_dims", 0), len(indices.shape), int(indices.shape[-1])

    def element(*at: Expr) -> Expr:
        places = (indices(*at[: rank - 1], column) for column in range(columns))
        sizes = data.shape[first : first + columns]
        chosen = [_from_start(place, int(size)) for place, size in zip(places, sizes, strict=True)]
        return data(*at[:first], *chosen, *at[rank - 1 :])

    return te.compute(tensor(e.node.outputs[0]).shape, element, "gather_nd")


def _one_hot(e: Expression) -> te.Tensor:
    indices, values, out = e.input(0), e.input(2), tensor(e.node.outputs[0])
    axis = e.node.attributes.get_int("axis", -1) % len(out.shape)
    depth = out.shape[axis]

    def element(*at: Expr) -> Expr:
        wrapped = _from_start(indices(*at[:axis], *at[axis + 1 :]).astype("int64"), depth)
        return tirx.Select(wrapped == at[axis].astype("int64"), values[1], values[0])

    return te.compute(out.shape, element, "one_hot")


def _bit_cast(e: Expression) -> te.Tensor:
    data, out = e.input(0), tensor(e.node.outputs[0])
    return te.compute(out.shape, lambda *at: tirx.reinterpret(out.dtype, data(*at)), "bit_cast")


def _eye_like(e: Expression) -> te.Tensor:
    rows, columns = tensor(e.node.outputs[0]).shape
    eye = np.eye(rows, columns, e.node.attributes.get_int("k", 0), dtype=tensor(e.node.outputs[0]).dtype)
    table = e.table(eye)
    return te.compute(table.shape, lambda *at: table(*at), "eye")


def _reverse_sequence(e: Expression) -> te.Tensor:
    data, lengths = e.input(0), e.input(1)
    time, batch = e.node.attributes.get_int("time_axis", 0), e.node.attributes.get_int("batch_axis", 1)

    def element(*at: Expr) -> Expr:
        length, now = lengths[at[batch]], at[time].astype("int64")
        place = tirx.Select(now < length, length - 1 - now, now)
        return data(*(place if axis == time else index for axis, index in enumerate(at)))

    return te.compute(data.shape, element, "reverse_sequence")


def _arg_extreme(e: Expression) -> te.Tensor:
    """The first (or last) of the largest or smallest; NaN is chosen only where it stands first, as in ONNX Runtime."""
    data, out = e.input(0), tensor(e.node.outputs[0])
    axis = e.node.attributes.get_int("axis", 0) % len(data.shape)
    keeps, last = (bool(e.node.attributes.get_int(name, start)) for name, start in _ARG_ATTRIBUTES)
    beats = {
        ("ArgMax", False): tirx.GT,
        ("ArgMax", True): tirx.GE,
        ("ArgMin", False): tirx.LT,
        ("ArgMin", True): tirx.LE,
    }[e.node.op_type, last]

    def better(best: tuple[Expr, Expr], new: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
        taken = tirx.Or(best[0] < 0, beats(new[1], best[1]))
        return tirx.Select(taken, new[0], best[0]), tirx.Select(taken, new[1], best[1])

    extreme = te.comm_reducer(better, lambda place, value: (tirx.const(-1, place), tirx.const(0, value)), "extreme")
    step = te.reduce_axis((0, int(data.shape[axis])), "k")

    def element(*at: Expr) -> Expr:
        inner = at[axis + 1 :] if keeps else at[axis:]
        return extreme((step.var.astype("int64"), data(*at[:axis], step, *inner)), axis=step)

    place, _ = te.compute(out.shape, element, "extreme")
    return te.compute(out.shape, lambda *at: place(*at), "place")


_ARG_ATTRIBUTES = (("keepdims", 1), ("select_last_index", 0))


def max_pool_with_indices(e: Expression) -> tuple[te.Tensor, te.Tensor]:
    """Maxima and where they are, counted over the whole input, row-major or column-major.

    The maximum of no pixel is the lowest finite number, at place -1 of every axis, as in ONNX Runtime.
    """
    data, out = e.input(0), tensor(e.node.outputs[0])
    sizes, spatial = [int(size) for size in data.shape[2:]], len(data.shape) - 2
    window = ints(e.node, "kernel_shape")
    strides, dilations = (ints(e.node, name, (1,) * spatial) for name in ("strides", "dilations"))
    pads = ints(e.node, "pads", (0,) * 2 * spatial)
    weights = [prod(sizes[axis + 1 :]) for axis in range(spatial)]
    if e.node.attributes.get_int("storage_order", 0):
        weights = [prod(sizes[:axis]) for axis in range(spatial)]
    taps = [te.reduce_axis((0, size), f"k{axis}") for axis, size in enumerate(window)]
    dtype = tensor(e.node.inputs[0]).dtype  # type: ignore[arg-type]
    lowest = tirx.const(-np.inf, dtype) if dtype.startswith("float") else tirx.min_value(dtype)

    def beats(best: tuple[Expr, Expr], other: tuple[Expr, Expr]) -> Expr:
        """The first of the largest; the lowest number of the type beats no number, that is place -1."""
        return tirx.any(other[1] > best[1], tirx.all(best[0] < 0, other[0] >= 0))

    larger = te.comm_reducer(
        lambda a, b: (tirx.Select(beats(a, b), b[0], a[0]), tirx.Select(beats(a, b), b[1], a[1])),
        lambda place, value: (tirx.const(-1, place), lowest),
        name="larger",
    )

    def element(*at: Expr) -> Expr:
        places = [at[2 + i] * strides[i] + taps[i] * dilations[i] - pads[i] for i in range(spatial)]
        inside = tirx.all(*(tirx.all(place >= 0, place < size) for place, size in zip(places, sizes, strict=True)))
        plane = (at[0] * data.shape[1] + at[1]) * prod(sizes)
        number = plane + sum(place * weight for place, weight in zip(places, weights, strict=True))
        value = tirx.if_then_else(inside, data(at[0], at[1], *places), lowest)
        there = tirx.Select(inside, number.astype("int64"), tirx.const(-1, "int64"))
        return larger((there, value), axis=taps)

    place, value = te.compute(out.shape, element, "max_pool")

    def maximum(*at: Expr) -> Expr:
        return tirx.Select(place(*at) >= 0, value(*at), tirx.min_value(dtype))

    def where(*at: Expr) -> Expr:
        before = ((at[0] * data.shape[1] + at[1]) * prod(sizes) - sum(weights)).astype("int64")
        return tirx.Select(place(*at) >= 0, place(*at), before)

    return te.compute(out.shape, maximum, "maxima"), te.compute(out.shape, where, "places")


def _expand(e: Expression) -> te.Tensor:
    """Broadcasting both ways: the result may be larger than the input and than the shape given."""
    data, shape = e.input(0), tensor(e.node.outputs[0]).shape
    skipped = len(shape) - len(data.shape)

    def element(*at: Expr) -> Expr:
        inner = at[skipped:]
        return data(*(0 if int(size) == 1 else index for size, index in zip(data.shape, inner, strict=True)))

    return te.compute(shape, element, "expand")


def _prelu(e: Expression) -> te.Tensor:
    data, slope = e.input(0), e.input(1)
    skipped = len(data.shape) - len(slope.shape)

    def element(*at: Expr) -> Expr:
        inner = zip(slope.shape, at[skipped:], strict=True)
        factor = slope(*(0 if int(size) == 1 else index for size, index in inner))
        return tirx.Select(data(*at) < tirx.const(0, data.dtype), data(*at) * factor, data(*at))

    return te.compute(data.shape, element, "prelu")


def pad(e: Expression) -> te.Tensor:
    """Constant padding, also by a value only known at run time, and cropping by negative pads."""
    data, value, shape = e.input(0), e.input(2), tensor(e.node.outputs[0]).shape
    found = padding(e.node, len(shape))
    assert found is not None
    (amounts, _), axes = found
    before = [0] * len(shape)
    for axis, amount in zip(axes, amounts, strict=True):
        before[axis] = int(amount)

    def element(*at: Expr) -> Expr:
        places = [index - amount for index, amount in zip(at, before, strict=True)]
        bounds = [tirx.all(place >= 0, place < size) for place, size in zip(places, data.shape, strict=True)]
        return tirx.if_then_else(tirx.all(*bounds), data(*places), value(*[0] * len(value.shape)))

    return te.compute(shape, element, "pad")


def reduce_nothing(e: Expression) -> te.Tensor:
    """A reduction over no elements: what it starts from."""
    out = tensor(e.node.outputs[0])
    start = EMPTY_REDUCTIONS[e.node.op_type]
    if np.isinf(start) and not out.dtype.startswith("float"):
        start = _limits(out.dtype)[int(start > 0)]
    table = e.table(np.full(out.shape, start, out.dtype))
    return te.compute(out.shape, lambda *at: table(*at), "nothing")


def _limits(dtype: str) -> tuple[int, int]:
    return (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


EMPTY_REDUCTIONS: dict[str, float] = {
    "ReduceL1": 0.0,
    "ReduceL2": 0.0,
    "ReduceLogSum": -np.inf,
    "ReduceLogSumExp": -np.inf,
    "ReduceMax": -np.inf,
    "ReduceMean": 0.0,
    "ReduceMin": np.inf,
    "ReduceProd": 1.0,
    "ReduceSum": 0.0,
    "ReduceSumSquare": 0.0,
}
"""What a reduction over no elements gives, a mean as in ONNX Runtime; infinity stands for the limit of an integer."""

DEFINITIONS: dict[str, Definition] = {
    "ArgMax": _arg_extreme,
    "ArgMin": _arg_extreme,
    "BitCast": _bit_cast,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "PRelu": _prelu,
    "ReverseSequence": _reverse_sequence,
}
