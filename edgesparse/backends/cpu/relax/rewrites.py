"""ONNX operators that TVM's importer lacks or has wrong, written in simpler ones.

A rewrite emits nodes through a `Builder` and returns the names of the node's outputs. It uses operators whose
form is the same in every opset from 20 on, so that it fits whatever the model imports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.relax.builder import Builder, dtype_of, names, shape_of
from edgesparse.backends.cpu.tensors import constant

Rewrite = Callable[[ir.Node, Sequence[str], Builder], list[str]]
"""Emits what `node` computes from the named inputs ("" where one is absent); returns its outputs' names."""


def _dropout(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Inference: the input itself, and a mask of ones."""
    return [b("Identity", inputs[0]), b.constant(np.ones(shape_of(node.inputs[0]), np.bool_))]


def _is_inf(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    dtype = dtype_of(node.inputs[0])
    found = []
    for attribute, value in (("detect_positive", np.inf), ("detect_negative", -np.inf)):
        if node.attributes.get_int(attribute, 1):
            found.append(b("Equal", inputs[0], b.constant(np.array(value, dtype))))
    if not found:
        return [b.constant(np.zeros(shape_of(node.inputs[0]), np.bool_))]
    return [found[0] if len(found) == 1 else b("Or", *found)]


def _affine_grid(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """A matrix of places, the last axis first, times theta; one place between aligned corners is the last of them."""
    dtype, result = dtype_of(node.inputs[0]), shape_of(node.outputs[0])
    sizes, aligned = result[1:-1], node.attributes.get_int("align_corners", 0) != 0
    ends = [(1 if aligned else 1 - 1 / size) for size in sizes]
    axes = [np.linspace(-end if size > 1 else end, end, size) for end, size in zip(ends, sizes, strict=True)]
    places = [place.ravel() for place in reversed(np.meshgrid(*axes, indexing="ij"))]
    base = b.constant(np.stack([*places, np.ones_like(places[0])], axis=-1).astype(dtype))
    return [b.reshape(b("MatMul", base, b("Transpose", inputs[0], perm=[0, 2, 1])), result)]


def _space_to_depth(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    n, c, h, w = shape_of(node.inputs[0])
    size = node.attributes.get_int("blocksize", 1)
    order = [0, 1, 3, 5, 2, 4] if node.attributes.get_string("mode", "DCR") == "CRD" else [0, 3, 5, 1, 2, 4]
    split = b.reshape(inputs[0], [n, c, h // size, size, w // size, size])
    return [b.reshape(b("Transpose", split, perm=order), [n, c * size * size, h // size, w // size])]


def _slice(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Steps that TVM can count with: one as long as the axis takes a single element, as any longer one does."""
    steps = constant(node.inputs[4]) if len(inputs) > 4 else None
    if steps is None:
        return [b("Slice", *inputs)]
    most = max(shape_of(node.inputs[0]), default=1) + 1
    return [b("Slice", *inputs[:4], b.constant(np.clip(steps, -most, most)))]


def _max_pool(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """The maximum of -inf is the lowest finite number, as in ONNX Runtime."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    result = b("MaxPool", *inputs, **attributes)
    if dtype_of(node.inputs[0]) != np.float32:
        return [result]
    return [b("Max", result, b.constant(np.array(np.finfo(np.float32).min)))]


def _pow(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Small constant exponents are products; mixed and integer operands go through a float that holds them.

    Powers that are integers are rounded where the exponent is whole, else cut off, as in ONNX Runtime.
    """
    exponent = constant(node.inputs[1])
    if exponent is not None and exponent.size == 1 and shape_of(node.inputs[0]) == shape_of(node.outputs[0]):
        times = float(exponent.reshape(-1)[0])
        if times in (1, 2, 3):
            return [reduce(lambda product, x: b("Mul", product, x), [inputs[0]] * int(times))]
        if times == 0.5 and dtype_of(node.inputs[0]).kind == "f":  # which LLVM takes for a root, of -inf too
            lowest, highest = (b.constant(np.array(end, dtype_of(node.inputs[0]))) for end in (-np.inf, np.inf))
            root = b("Abs", b("Sqrt", inputs[0]))  # of -0 the power is 0
            return [b("Where", b("Equal", inputs[0], lowest), highest, root)]
    result = dtype_of(node.outputs[0])
    work = np.dtype("float32") if dtype_of(node.inputs[0]) in ("float16", "float32") else np.dtype("float64")
    if result == work and dtype_of(node.inputs[1]) == work:
        return [b("Pow", *inputs)]
    raised = b.cast(inputs[1], work)
    power = b("Pow", b.cast(inputs[0], work), raised)
    if result.kind in "iu":
        whole = b("Round", power)
        fraction = dtype_of(node.inputs[1]).kind == "f"
        power = b("Where", b("Equal", raised, b("Floor", raised)), whole, power) if fraction else whole
    return [b.cast(power, result)]


def _add(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Plus zero makes zero of minus zero, which TVM forgets: it takes x + 0 and x - -0 for x."""
    for at, x in ((1, 0), (0, 1))[: 1 if node.op_type == "Sub" else 2]:
        added = constant(node.inputs[at])
        if added is None or added.size != 1 or added.dtype.kind != "f" or added.any():
            continue
        if np.signbit(added).any() == (node.op_type == "Sub") and shape_of(node.inputs[x]) == shape_of(node.outputs[0]):
            zero = b.constant(np.array(0, added.dtype))
            return [b("Where", b("Equal", inputs[x], zero), zero, inputs[x])]
    return [b(node.op_type, *inputs)]


def _reduce(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Reductions of integers in integers, of booleans as integers; roots through float64.

    A reduction over no axes is one over an axis of its own for every element. Half precision is summed in float32.
    """
    shape, kind, dtype = shape_of(node.inputs[0]), node.op_type, dtype_of(node.inputs[0])
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = [] if given is None else [int(axis) for axis in given.ravel()]
    x, keep = inputs[0], node.attributes.get_int("keepdims", 1) != 0
    noop = node.attributes.get_int("noop_with_empty_axes", 0) != 0
    if not axes and (noop or not shape):
        x, shape, axes, keep = b.reshape(x, [*shape, 1]), (*shape, 1), [len(shape)], False
    axes = axes or list(range(len(shape)))

    def fold(kind: str, value: str) -> str:
        if kind == "ReduceLogSumExp":
            return _log_sum_exp(value, np.promote_types(dtype, np.float32), axes, shape_of(node.outputs[0]), b)
        return b(kind, value, b.constant(np.array(axes, np.int64)), keepdims=int(keep))

    if dtype == np.float16:
        return [b.cast(fold(kind, b.cast(x, np.float32)), dtype)]
    if dtype.kind == "f":
        return [fold(kind, x)]
    if dtype == np.bool_:
        return [b.cast(fold(kind, b.cast(x, np.int32)), np.bool_)]
    match kind:
        case "ReduceMean":
            count = prod(shape[axis] for axis in axes)
            return [b("Div", fold("ReduceSum", x), b.constant(np.array(count, dtype)))]
        case "ReduceL1":
            return [fold("ReduceSum", b("Abs", x) if dtype.kind == "i" else x)]
        case "ReduceSumSquare":
            return [fold("ReduceSum", b("Mul", x, x))]
        case "ReduceL2":
            squares = b.cast(fold("ReduceSum", b("Mul", x, x)), np.float64)
            return [b.cast(b("Sqrt", squares), dtype)]
        case _:
            return [fold(kind, x)]


def _log_sum_exp(value: str, dtype: np.dtype, axes: Sequence[int], result: Sequence[int], b: Builder) -> str:
    """max + log(sum(exp(x - max))), with 0 for a maximum that is infinite."""
    over = b.constant(np.array(axes, np.int64))
    zero, infinity = (b.constant(np.array(number, dtype)) for number in (0, np.inf))
    highest = b("ReduceMax", value, over, keepdims=1)
    highest = b("Where", b("Equal", b("Abs", highest), infinity), zero, highest)
    total = b("ReduceSum", b("Exp", b("Sub", value, highest)), over, keepdims=1)
    return b.reshape(b("Add", b("Log", total), highest), result)


def _acosh(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """NaN below 1, where TVM's formula gives numbers."""
    x, work = _at_least_float32(node, inputs, b)
    one, none = (b.constant(np.array(number, work)) for number in (1, np.nan))
    return _as_result(node, b("Where", b("Less", x, one), none, b("Acosh", x)), work, b)


def _at_least_float32(node: ir.Node, inputs: Sequence[str], b: Builder) -> tuple[str, np.dtype]:
    """The first input in the type that computes with it."""
    dtype = dtype_of(node.inputs[0])
    work = np.promote_types(dtype, np.float32)
    return (inputs[0] if dtype == work else b.cast(inputs[0], work)), work


def _as_result(node: ir.Node, value: str, work: np.dtype, b: Builder) -> list[str]:
    dtype = dtype_of(node.outputs[0])
    return [value if dtype == work else b.cast(value, dtype)]


def _elu(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Celu, Elu and Selu: gamma x above 0, gamma alpha (exp(x / beta) - 1) below."""
    x, work = _at_least_float32(node, inputs, b)
    alpha = node.attributes.get_float("alpha", 1.67326319217681884765625 if node.op_type == "Selu" else 1.0)
    gamma = node.attributes.get_float("gamma", 1.05070102214813232421875) if node.op_type == "Selu" else 1.0
    one, zero, factor, scale = (b.constant(np.array(number, work)) for number in (1, 0, gamma * alpha, gamma))
    power = b("Div", x, b.constant(np.array(alpha, work))) if node.op_type == "Celu" else x
    below, above = b("Mul", b("Sub", b("Exp", power), one), factor), b("Mul", x, scale) if gamma != 1.0 else x
    is_above = b("GreaterOrEqual" if node.op_type == "Elu" else "Greater", x, zero)  # -0 stays what it is
    return _as_result(node, b("Where", is_above, above, below), work, b)


def _thresholded_relu(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    x, work = _at_least_float32(node, inputs, b)
    alpha, zero = (b.constant(np.array(number, work)) for number in (node.attributes.get_float("alpha", 1.0), 0))
    return _as_result(node, b("Where", b("Greater", x, alpha), x, zero), work, b)


def _shrink(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Integers go through float32, as in ONNX Runtime."""
    dtype = dtype_of(node.inputs[0])
    work = np.promote_types(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.float32)
    x = b.cast(inputs[0], work)
    limit, bias = (node.attributes.get_float(name, default) for name, default in (("lambd", 0.5), ("bias", 0.0)))
    low, high, bias_, zero = (b.constant(np.array(number, work)) for number in (-limit, limit, bias, 0))
    above = b("Where", b("Greater", x, high), b("Sub", x, bias_), zero)
    return _as_result(node, b("Where", b("Less", x, low), b("Add", x, bias_), above), work, b)


def _lrn(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Mean squares of neighbouring channels; of an even number one more comes after than before."""
    shape, size = shape_of(node.inputs[0]), node.attributes.get_int("size", 1)
    x, work = _at_least_float32(node, inputs, b)
    squares = b.reshape(b("Mul", x, x), [shape[0], 1, shape[1], prod(shape[2:])])
    pads = [(size - 1) // 2, 0, size // 2, 0]
    means = b("AveragePool", squares, kernel_shape=[size, 1], pads=pads, count_include_pad=1)
    alpha, beta, bias = (
        b.constant(np.array(node.attributes.get_float(name, default), work))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    power = b("Pow", b("Add", b("Mul", b.reshape(means, shape), alpha), bias), beta)
    return _as_result(node, b("Div", x, power), work, b)


def _mean_variance(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Squares of differences from the mean: differences of mean squares lose what is small beside it."""
    x, work = _at_least_float32(node, inputs, b)
    axes = b.constant(np.array(node.attributes.get_ints("axes", (0, 2, 3)), np.int64))
    centred = b("Sub", x, b("ReduceMean", x, axes))
    deviation = b("Sqrt", b("ReduceMean", b("Mul", centred, centred), axes))
    return _as_result(node, b("Div", centred, b("Add", deviation, b.constant(np.array(1e-9, work)))), work, b)


def _lp_normalization(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    axis, rank = node.attributes.get_int("axis", -1), len(shape_of(node.inputs[0]))
    moved = [a for a in range(rank) if a != axis % rank] + [axis % rank]
    values = b("Transpose", inputs[0], perm=moved)
    kind = "ReduceL1" if node.attributes.get_int("p", 2) == 1 else "ReduceL2"
    norm = b(kind, values, b.constant(np.array([rank - 1], np.int64)), keepdims=1)
    zero = b.constant(np.array(0, dtype_of(node.inputs[0])))
    one = b.constant(np.array(1, dtype_of(node.inputs[0])))
    scaled = b("Div", values, b("Where", b("Equal", norm, zero), one, norm))
    return [b("Transpose", scaled, perm=[int(a) for a in np.argsort(moved)])]


def _dynamic_quantize(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """As ONNX defines it, except that a tensor of zeros has the scale 1."""
    zero, one, steps = (b.constant(np.array(number, np.float32)) for number in (0, 1, 255))
    highest = b("Max", b("ReduceMax", inputs[0], keepdims=0), zero)
    lowest = b("Min", b("ReduceMin", inputs[0], keepdims=0), zero)
    reach = b("Sub", highest, lowest)
    scale = b("Where", b("Equal", reach, zero), one, b("Div", reach, steps))
    shift = b("Clip", b("Round", b("Div", b("Sub", zero, lowest), scale)), zero, steps)
    zero_point = b.cast(shift, np.uint8)
    return [b("QuantizeLinear", inputs[0], scale, zero_point), scale, zero_point]


def _mod(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """With fmod the remainder has the sign of the dividend, without it that of the divisor."""
    if node.attributes.get_int("fmod", 0) or not np.issubdtype(dtype_of(node.inputs[0]), np.floating):
        return [b("Mod", *inputs, fmod=node.attributes.get_int("fmod", 0))]
    zero = b.constant(np.array(0, dtype_of(node.inputs[0])))
    rest = b("Mod", *inputs, fmod=1)
    differs = b("Xor", b("Less", rest, zero), b("Less", inputs[1], zero))
    fix = b("And", b("Not", b("Equal", rest, zero)), differs)
    return [b("Where", fix, b("Add", rest, inputs[1]), rest)]


def _centred(b: Builder, value: str, zero_point: str, shape: Sequence[int]) -> str:
    """A quantised tensor as int32 around its zero point, which is spread over `shape`."""
    wide = b.cast(value, np.int32)
    return b("Sub", wide, b.reshape(b.cast(zero_point, np.int32), shape)) if zero_point else wide


def _requantised(b: Builder, sums: str, scale: str, zero_point: str, dtype: np.dtype) -> str:
    """int32 sums times `scale`, rounded to even and saturated."""
    limits = np.iinfo(dtype)
    value = b("Round", b("Mul", b.cast(sums, np.float32), scale))
    value = b("Add", value, b.reshape(b.cast(zero_point, np.float32), [1]))
    value = b("Min", b("Max", value, b.constant(np.float32(limits.min))), b.constant(np.float32(limits.max)))
    return b.cast(value, dtype)


def _scale(b: Builder, name: str, shape: Sequence[int]) -> str:
    return b.reshape(b.cast(name, np.float32), shape)


def _qlinear_matmul(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    a, a_scale, a_zero, w, w_scale, w_zero, scale, zero = inputs
    rows, columns = [-1, 1], [1, -1]  # one value per row of a, one per column of w
    sums = b("MatMul", _centred(b, a, a_zero, rows), _centred(b, w, w_zero, columns))
    factor = b("Div", b("Mul", _scale(b, a_scale, rows), _scale(b, w_scale, columns)), _scale(b, scale, [1]))
    return [_requantised(b, sums, factor, zero, dtype_of(node.outputs[0]))]


def _conv_sums(node: ir.Node, x: str, x_zero: str, w: str, w_zero: str, b: Builder) -> str:
    rank = len(shape_of(node.inputs[0]))
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    centred = _centred(b, x, x_zero, [1] * rank), _centred(b, w, w_zero, [-1] + [1] * (rank - 1))
    return b("Conv", *centred, **attributes)


def _qlinear_conv(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    x, x_scale, x_zero, w, w_scale, w_zero, scale, zero = inputs[:8]
    channels = [1, -1] + [1] * (len(shape_of(node.inputs[0])) - 2)
    sums = _conv_sums(node, x, x_zero, w, w_zero, b)
    if len(inputs) > 8 and inputs[8]:
        sums = b("Add", sums, b.reshape(inputs[8], channels))
    factor = b("Div", b("Mul", _scale(b, x_scale, [1]), _scale(b, w_scale, [-1])), _scale(b, scale, [1]))
    return [_requantised(b, sums, b.reshape(factor, channels), zero, dtype_of(node.outputs[0]))]


def _conv_integer(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    x, w, x_zero, w_zero = (*inputs, "", "")[:4]
    return [_conv_sums(node, x, x_zero, w, w_zero, b)]


def _scatter_nd(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Booleans are reduced as integers: a sum is their maximum, a product their minimum."""
    reduction = node.attributes.get_string("reduction", "none")
    if dtype_of(node.inputs[0]) != np.bool_ or reduction == "none":
        return [b("ScatterND", *inputs, reduction=reduction)]
    data, updates = (b.cast(name, np.dtype("uint8")) for name in (inputs[0], inputs[2]))
    reduction = {"add": "max", "mul": "min"}.get(reduction, reduction)
    return [b.cast(b("ScatterND", data, inputs[1], updates, reduction=reduction), np.dtype("bool"))]


def _shape(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    shape = shape_of(node.inputs[0])
    if node.op_type == "Size":
        return [b.constant(np.array(prod(shape), np.int64))]
    end = node.attributes.get_int("end", len(shape))
    return [b.constant(np.array(shape[node.attributes.get_int("start", 0) : end], np.int64))]


def _reshape(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    return [b.reshape(inputs[0], shape_of(node.outputs[0]))]


def _split(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Slices; a part without elements stays away."""
    axis = node.attributes.get_int("axis", 0)
    results, start = [], 0
    for value in node.outputs:
        end = start + shape_of(value)[axis]
        results.append(b.slice(inputs[0], axis, start, end) if end > start else "")
        start = end
    return results


def _swish(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    alpha = b.constant(np.array(node.attributes.get_float("alpha", 1.0), dtype_of(node.inputs[0])))
    return [b("Mul", inputs[0], b("Sigmoid", b("Mul", inputs[0], alpha)))]


_REDUCTIONS = names(
    """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    """
)

REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Acosh": _acosh,
    "Add": _add,
    **dict.fromkeys(("Celu", "Elu", "Selu"), _elu),
    "AffineGrid": _affine_grid,
    "ConvInteger": _conv_integer,
    "Dropout": _dropout,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "IsInf": _is_inf,
    "LRN": _lrn,
    "LpNormalization": _lp_normalization,
    "MaxPool": _max_pool,
    "MeanVarianceNormalization": _mean_variance,
    "Mod": _mod,
    "Pow": _pow,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Shrink": _shrink,
    "Size": _shape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sub": _add,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}
