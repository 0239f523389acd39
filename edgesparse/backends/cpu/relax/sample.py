"""GridSample: where each output element lies in the image, and the elements around it by their weights.

The position along an axis, the elements taken there and their weights are computed once each, for all channels: written
as one expression they would repeat each other.

Source: the definition of GridSample, ONNX opset 20; Keys 1981, "Cubic convolution interpolation".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import attrgetter, mul

from tvm import te, tirx
from tvm.ir import Expr

from edgesparse import numerics
from edgesparse.backends.cpu.relax.compute import Expression
from edgesparse.backends.cpu.tensors import tensor

_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # as opset 16 calls them
_CUBIC = -0.75
_BEYOND = 4  # elements outside the image: nothing inside has a weight there


@dataclass(frozen=True)
class _Axis:
    """How one axis of the image is sampled; `component` of the grid's vectors belongs to it."""

    size: int
    component: int
    mode: str
    padding: str
    aligned: bool

    @property
    def taps(self) -> range:
        """The elements taken, counted from the one at or below the position."""
        return {"nearest": range(1), "linear": range(2), "cubic": range(-1, 3)}[self.mode]


def grid_sample(e: Expression) -> te.Tensor:
    """The lowering of GridSample as tensor expressions."""
    data, grid, out = e.input(0), e.input(1), tensor(e.node.outputs[0])
    get = e.node.attributes
    mode = get.get_string("mode", "linear")
    mode, padding = _MODES.get(mode, mode), get.get_string("padding_mode", "zeros")
    aligned, rank = get.get_int("align_corners", 0) != 0, len(data.shape) - 2
    axes = [_Axis(int(size), rank - 1 - at, mode, padding, aligned) for at, size in enumerate(data.shape[2:])]
    work = max((numerics.element(str(of.dtype)).wide for of in (data, grid)), key=attrgetter("bits")).name
    positions = [_position(grid, axis, work) for axis in axes]
    places = [_places(position, axis) for position, axis in zip(positions, axes, strict=True)]
    weights = [_weights(position, axis) for position, axis in zip(positions, axes, strict=True)]

    def element(image: Expr, channel: Expr, *at: Expr) -> Expr:
        def tap(numbers: tuple[int, ...]) -> Expr:
            there = [place(number, image, *at) for number, place in zip(numbers, places, strict=True)]
            value = data(image, channel, *there).astype(work)
            if padding == "zeros":
                inside = tirx.all(*(place >= 0 for place in there))
                value = tirx.if_then_else(inside, value, tirx.const(0, work))
            return reduce(mul, (w(k, image, *at) for k, w in zip(numbers, weights, strict=True)), value)

        every = [tap(numbers) for numbers in product(*(range(len(axis.taps)) for axis in axes))]
        return sum(every[1:], every[0]).astype(out.dtype)

    return te.compute(out.shape, element, "grid_sample")


def _position(grid: te.Tensor, axis: _Axis, work: str) -> te.Tensor:
    """Where the elements lie on an axis, in elements of the image; far outside is as good as near outside.

    Shapes: [batch, output sizes...].
    """

    def located(*at: Expr) -> Expr:
        shifted = grid(*at, axis.component).astype(work) + tirx.const(1, work)
        if axis.aligned:
            place = shifted / tirx.const(2, work) * tirx.const(axis.size - 1, work)
        else:
            place = (shifted * tirx.const(axis.size, work) - tirx.const(1, work)) / tirx.const(2, work)
        return tirx.nearbyint(place) if axis.mode == "nearest" else place

    place = te.compute(grid.shape[:-1], located, "position")
    if axis.padding == "reflection":
        return place
    low, high = tirx.const(-_BEYOND, work), tirx.const(axis.size + _BEYOND, work)
    return te.compute(place.shape, lambda *at: tirx.max(tirx.min(place(*at), high), low), "near")


def _places(position: te.Tensor, axis: _Axis) -> te.Tensor:
    """The elements taken along an axis; -1 where there is none.

    Shapes: [taps, batch, output sizes...].
    """

    def place(tap: Expr, *at: Expr) -> Expr:
        found = tirx.floor(position(*at)).astype("int32") + (tap + axis.taps[0])
        match axis.padding:
            case "border":
                return tirx.max(tirx.min(found, axis.size - 1), 0)
            case "reflection" if axis.size == 1:
                return tirx.const(0, "int32")
            case "reflection":
                period = 2 * (axis.size - 1) if axis.aligned else 2 * axis.size
                turned = tirx.floormod(found, period)
                return tirx.min(turned, period - turned - (0 if axis.aligned else 1))
            case _:
                return tirx.Select(tirx.all(found >= 0, found < axis.size), found, tirx.const(-1, "int32"))

    return te.compute((len(axis.taps), *position.shape), place, "places")


def _weights(position: te.Tensor, axis: _Axis) -> te.Tensor:
    """The weights of those elements, by how far they lie from the position."""
    work = position.dtype

    def weight(tap: Expr, *at: Expr) -> Expr:
        fraction = position(*at) - tirx.floor(position(*at))
        return _KERNELS[axis.mode](tirx.abs(fraction - (tap + axis.taps[0]).astype(work)))

    return te.compute((len(axis.taps), *position.shape), weight, "weights")


def _cubic(distance: Expr) -> Expr:
    a, two, three, four = (tirx.const(number, distance.ty.dtype) for number in (_CUBIC, 2, 3, 4))
    one, five, eight = (tirx.const(number, distance.ty.dtype) for number in (1, 5, 8))
    near = ((a + two) * distance - (a + three)) * distance * distance + one
    far = ((a * distance - five * a) * distance + eight * a) * distance - four * a
    return tirx.Select(distance <= one, near, far)


_KERNELS: dict[str, Callable[[Expr], Expr]] = {
    "nearest": lambda distance: tirx.const(1, distance.ty.dtype),
    "linear": lambda distance: tirx.const(1, distance.ty.dtype) - distance,
    "cubic": _cubic,
}
