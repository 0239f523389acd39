"""Resize: along each axis, a few input elements by constant weights; what they are is worked out when compiling.

Every mode of the operator is linear and separable: only the table of taps for an axis differs.

Source: the definition of Resize, ONNX opset 19; Keys 1981, "Cubic convolution interpolation".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir
from tvm import te, tirx
from tvm.ir import Expr

from edgesparse.backends.cpu.relax.compute import Expression
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.numerics import F32
from edgesparse.program import Bound, IndexKind

FIXED = 1 << 10
"""The weight 1 in the fixed point of ONNX Runtime, for 8-bit pixels whose channels are last."""


@dataclass(frozen=True)
class Taps:
    """Input elements and their weights for each output element of an axis; `outside` marks those beyond the input."""

    places: np.ndarray  # int32 [outputs, taps]
    weights: np.ndarray  # float64 [outputs, taps]
    outside: np.ndarray  # bool [outputs]


@dataclass(frozen=True)
class _Axis:
    size: int
    result: int
    scale: float
    roi: tuple[float, float]


def resize(e: Expression) -> te.Tensor:
    """The lowering of Resize as tensor expressions."""
    data, out = e.input(0), tensor(e.node.outputs[0])
    get = e.node.attributes
    extrapolates = get.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    outside: list[tuple[int, te.Tensor]] = []
    value = data
    work = "float64" if data.dtype == "float64" else F32.name
    axes = _axes(e.node)
    inner: list[tuple[int, te.Tensor, te.Tensor]] = []
    linear = get.get_string("mode", "nearest") == "linear" and not get.get_int("antialias", 0)
    together = _together(axes) if linear and is_cut_off(out.dtype) else range(0)
    fixed = together == range(1, 3) and out.dtype in ("int8", "uint8")
    resized = any(axis.size != axis.result for axis in axes)  # else ONNX Runtime copies, whatever the scale or region
    for number, axis in enumerate(axes if resized else ()):
        taps = taps_of(e.node, axis)
        if extrapolates and taps.outside.any():
            outside.append((number, e.table(taps.outside.astype(np.int8))))
        if number in together:
            inner.append((number, *_pair(e, taps, axis.size, work, fixed)))
            continue
        trivial = taps.places.shape[1] == 1 and (taps.weights == 1).all()
        if trivial and np.array_equal(taps.places[:, 0], np.arange(axis.size)):
            continue
        weights = None if trivial else e.table(taps.weights.astype(work))
        places = e.table(taps.places.astype(np.int32), Bound(IndexKind.INDEX, "int32", axis.size))
        value = _along(value, number, places, weights)
    if inner:
        value = _between(value, inner)
    missing = tirx.const(get.get_float("extrapolation_value", 0.0), out.dtype)

    def element(*at: Expr) -> Expr:
        result = _converted(value(*at), out.dtype, rounded=get.get_int("antialias", 0) != 0)
        for number, table in outside:
            result = tirx.Select(table[at[number]] != 0, missing, result)
        return result

    return te.compute(out.shape, element, "resize")


def _together(axes: Sequence[_Axis]) -> range:
    """The axes that ONNX Runtime interpolates along at once, resized or not; none where it is not known to."""
    resized = [number for number, axis in enumerate(axes) if axis.size != axis.result]
    rank = len(axes)
    inner = range(1, 3) if rank == 4 and 1 in resized else range(0 if rank < 4 else 2, rank)
    return inner if set(resized) <= set(inner) and len(inner) in (2, 3) else range(0)


def _pair(e: Expression, taps: Taps, size: int, work: str, fixed: bool) -> tuple[te.Tensor, te.Tensor]:
    """Tables of the two places along an axis and of their weights; in 1024ths where those are fixed-point numbers."""
    places, weights = taps.places, taps.weights
    if places.shape[1] == 1:
        places, weights = _neighbours(places[:, 0], size)
    if fixed:
        second = np.floor(weights[:, 1] * FIXED).astype(np.int32)
        weights = np.stack([FIXED - second, second], axis=1)
    bound = Bound(IndexKind.INDEX, "int32", size)
    return e.table(places.astype(np.int32), bound), e.table(weights.astype("int32" if fixed else work))


def _along(value: te.Tensor, axis: int, places: te.Tensor, weights: te.Tensor | None) -> te.Tensor:
    """One axis resized; the few taps are written out."""
    shape = [*value.shape[:axis], places.shape[0], *value.shape[axis + 1 :]]

    def element(*at: Expr) -> Expr:
        def tap(number: int) -> Expr:
            return value(*at[:axis], places[at[axis], number], *at[axis + 1 :])

        if weights is None:
            return tap(0)
        terms = [tap(k).astype(weights.dtype) * weights[at[axis], k] for k in range(int(places.shape[1]))]
        return sum(terms[1:], terms[0])

    return te.compute(shape, element, f"axis{axis}")


def _between(value: te.Tensor, axes: Sequence[tuple[int, te.Tensor, te.Tensor]]) -> te.Tensor:
    """All axes at once, each with two taps: summed in ONNX Runtime's order, since integers are cut off."""
    shape = list(value.shape)
    for axis, places, _ in axes:
        shape[axis] = places.shape[0]

    def element(*at: Expr) -> Expr:
        def term(*taps: int) -> Expr:
            place, weight = list(at), None
            for (axis, places, weights), tap in reversed(list(zip(axes, taps, strict=True))):
                place[axis] = places[at[axis], tap]
                share = weights[at[axis], tap]
                weight = share if weight is None else weight * share
            return weight * value(*place).astype(axes[0][2].dtype)

        terms = [term(*taps) for taps in product((0, 1), repeat=len(axes))]
        total = sum(terms[1:], terms[0])
        return tirx.truncdiv(total, FIXED ** len(axes)) if is_cut_off(str(total.ty.dtype)) else total

    return te.compute(shape, element, "between")


def _converted(value: Expr, dtype: str, *, rounded: bool) -> Expr:
    """As ONNX Runtime: integers are cut off, and rounded only where antialias is on."""
    if not is_cut_off(dtype) or is_cut_off(str(value.ty.dtype)):
        return value.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    whole = tirx.round(value) if rounded else tirx.trunc(value)
    return tirx.max(tirx.min(whole, float(high)), float(low)).astype(dtype)


def is_cut_off(dtype: str) -> bool:
    """Whether a type holds whole numbers only, so that a result a little below one becomes the next."""
    return dtype.startswith(("int", "uint"))


def _axes(node: ir.Node) -> list[_Axis]:
    """Every axis of the input with its scale."""
    source, result = node.inputs[0], tensor(node.outputs[0]).shape
    assert source is not None
    sizes = tensor(source).shape
    rank = len(sizes)
    listed = node.attributes.get_ints("axes", ()) or range(rank)
    axes = [int(axis) % rank for axis in listed]
    roi, scales, wanted = (_array(node, position) for position in (1, 2, 3))
    factors = [after / max(before, 1) for before, after in zip(sizes, result, strict=True)]
    if scales is not None:
        factors = [1.0] * rank
        for axis, scale in zip(axes, scales, strict=True):
            factors[axis] = float(scale)
    elif wanted is not None:
        policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
        ratios = [float(size) / sizes[axis] for axis, size in zip(axes, wanted, strict=True)]
        if policy != "stretch":
            ratios = [(min if policy == "not_larger" else max)(ratios)] * len(ratios)
        for axis, ratio in zip(axes, ratios, strict=True):
            factors[axis] = ratio
    regions = [(0.0, 1.0)] * rank
    if roi is not None and roi.size:
        for position, axis in enumerate(axes):
            regions[axis] = (float(roi[position]), float(roi[position + len(axes)]))
    return [_Axis(*parts) for parts in zip(sizes, result, factors, regions, strict=True)]


def _array(node: ir.Node, position: int) -> np.ndarray | None:
    array = constant(node.inputs[position]) if len(node.inputs) > position else None
    return array if array is not None and array.size else None


def taps_of(node: ir.Node, axis: _Axis) -> Taps:
    """The taps of one axis."""
    get = node.attributes
    mode = get.get_string("mode", "nearest")
    transform = get.get_string("coordinate_transformation_mode", "half_pixel")
    antialias = get.get_int("antialias", 0) != 0
    if axis.size == axis.result and (axis.scale == 1.0 or (antialias and mode != "nearest")):  # nor is it cropped
        same = np.arange(axis.size)[:, None]
        return Taps(same, np.ones_like(same, np.float64), np.zeros(axis.size, bool))
    x = _coordinates(axis, transform)
    outside = (x < 0) | (x > axis.size - 1)
    if mode == "nearest":
        rounding = get.get_string("nearest_mode", "round_prefer_floor")
        places = _ROUNDINGS[rounding](x.astype(np.float64)).astype(np.int64)[:, None]
        return Taps(np.clip(places, 0, axis.size - 1), np.ones(places.shape), outside)
    if mode == "linear" and not antialias:
        return Taps(*_neighbours(x, axis.size), outside)
    shrink = min(axis.scale, 1.0) if antialias else 1.0
    coefficient = get.get_float("cubic_coeff_a", -0.75)
    kernel, radius = (_triangle, 1) if mode == "linear" else ((lambda d: _cubic(d, coefficient)), 2)
    reach = int(np.ceil(radius / shrink))
    places = np.floor(x).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)[None, :]
    weights = kernel((places - x[:, None]) * shrink)
    excludes = get.get_int("exclude_outside", 0) != 0
    if excludes:
        weights = np.where((places < 0) | (places >= axis.size), 0.0, weights)
    if excludes or shrink != 1.0:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return Taps(np.clip(places, 0, axis.size - 1), weights, outside)


def _neighbours(x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The two places around each `x` and their weights; at the end both are the last, as in ONNX Runtime."""
    x = np.clip(x, 0, size - 1).astype(np.float64)
    first = np.floor(x).astype(np.int64)
    places = np.stack([first, np.minimum(first + 1, size - 1)], axis=1)
    weights = np.abs(places[:, ::-1] - x[:, None])
    return places, np.where(places[:, :1] == places[:, 1:], 0.5, weights)


_TIE = 0.5 + 1e-6
"""What counts as half way, as in ONNX Runtime: places are rounded when they are computed."""

_ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - _TIE),
    "round_prefer_ceil": lambda x: np.floor(x + _TIE),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _coordinates(axis: _Axis, transform: str) -> np.ndarray:
    """Where each output element lies on the input axis, in float32 as ONNX Runtime and PyTorch work it out."""
    at, scale, size = np.arange(axis.result, dtype=np.float32), np.float32(axis.scale), np.float32(axis.size)
    last, half, result = size - np.float32(1), np.float32(0.5), np.float32(axis.result)
    match transform:
        case "asymmetric":
            return at / scale
        case "align_corners":
            return at * last / (result - 1) if axis.result > 1 else np.zeros_like(at)
        case "pytorch_half_pixel":
            return (at + half) / scale - half if axis.result > 1 else np.zeros_like(at)
        case "tf_half_pixel_for_nn":
            return (at + half) / scale
        case "half_pixel_symmetric":
            shift = size / 2 * (1 - result / (scale * size))
            return (shift + (at + 0.5).astype(np.float64) / scale - 0.5).astype(np.float32)
        case "tf_crop_and_resize":
            start, end = (np.float32(place) for place in axis.roi)
            if axis.result > 1:
                return start * last + at * (end - start) * last / (result - 1)
            return np.full_like(at, half * (start + end) * last)
        case _:
            return (at + half) / scale - half


def _triangle(distance: np.ndarray) -> np.ndarray:
    weights: np.ndarray = np.maximum(0.0, 1.0 - np.abs(distance))
    return weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
