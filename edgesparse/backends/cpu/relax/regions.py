"""RoiAlign: the mean of an image at points in each cell of a region, a loop with every number bound once.

Source: He et al. 2017, "Mask R-CNN", arXiv:1703.06870; the definition of RoiAlign, ONNX opset 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.backends.cpu.relax.checks import operand
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.devices.targets import Target


@dataclass(frozen=True)
class _Sampling:
    """How regions become points: `scale` and `half` place corners, `points` a side are in a cell, 0: as many as fit."""

    scale: float
    half: float
    points: int


def roi_align(node: ir.Node, target: Target) -> list[Call]:
    """RoiAlign in mode avg."""
    get, out = node.attributes, tensor(node.outputs[0])
    centred = get.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    sampling = _Sampling(get.get_float("spatial_scale", 1.0), 0.5 * centred, get.get_int("sampling_ratio", 0))
    image, regions, batch = (tensor(value) for value in node.inputs)  # type: ignore[arg-type]
    kernel = _kernel(image, regions, batch, out, sampling)
    return [
        Call(
            str(node.name or out.name),
            node.op_type,
            kernel,
            tuple(operand(node, position) for position in range(3)),
            (out,),
        )
    ]


def _kernel(image: Tensor, regions: Tensor, batch: Tensor, out: Tensor, sampling: _Sampling) -> Kernel:
    """Shapes: x [batch, channels, height, width], corners [regions, 4], y [regions, channels, rows, columns].

    A tile is one region. Order: points of a cell row-major.
    """
    _, channels, *sizes = image.shape
    _, _, *cells = out.shape
    work = image.element.accumulator

    def body(tile: Expr, x: Buffer, corners: Buffer, images: Buffer, y: Buffer) -> None:
        total = T.alloc_buffer((1,), work, scope="global")
        first = T.bind(T.cast(images[tile], "int32") * channels)
        ends = [_placed(T.cast(corners[tile * 4 + at], work), sampling) for at in range(4)]
        sides = [_Side(T.bind(ends[1 - at]), T.bind(ends[3 - at]), cells[at], sizes[at], sampling) for at in range(2)]
        with T.grid(channels, *cells) as (channel, row, column):
            T.buffer_store(total, tirx.const(0, work), [0])
            plane = T.bind((first + channel) * (sizes[0] * sizes[1]))
            with T.serial(0, sides[0].points) as i:
                low_y, high_y, above, in_y = sides[0].point(row, i)
                with T.serial(0, sides[1].points) as j:
                    low_x, high_x, left, in_x = sides[1].point(column, j)
                    with T.If(tirx.all(in_y, in_x)), T.Then():
                        upper, lower = (
                            _between(x, T.bind(plane + place * sizes[1]), low_x, high_x, left, work)
                            for place in (low_y, high_y)
                        )
                        T.buffer_store(total, total[0] + upper * (1 - above) + lower * above, [0])
            count = T.cast(T.max(sides[0].points * sides[1].points, 1), work)
            place = ((tile * channels + channel) * cells[0] + row) * cells[1] + column
            T.buffer_store(y, T.cast(total[0] / count, out.dtype), [place])

    params = [Param(each.size, each.element) for each in (image, regions, batch, out)]
    facts = (image.dtype, image.shape, regions.dtype, regions.shape, batch.dtype, out.shape, sampling)
    return build_kernel(
        kernel_symbol("roi_align", image.element, f"n{out.size}", None, *facts), params, out.shape[0], body
    )


def _placed(corner: Expr, sampling: _Sampling) -> Expr:
    """A corner in elements of the image."""
    dtype = corner.ty.dtype
    return corner * tirx.const(sampling.scale, dtype) - tirx.const(sampling.half, dtype)


class _Side:
    """One side of a region in `cells`, on an axis of `size` elements."""

    def __init__(self, start: Expr, end: Expr, cells: int, size: int, sampling: _Sampling) -> None:
        self._start, self._size, self._work = start, size, start.ty.dtype
        length = end - start if sampling.half else T.max(end - start, self._number(1))
        self._cell = T.bind(length / self._number(cells))
        whole = T.cast(T.ceil(self._cell), "int32")
        self.points = T.bind(T.int32(sampling.points) if sampling.points > 0 else T.max(whole, 0))

    def point(self, cell: Expr, number: Expr) -> tuple[Expr, Expr, Expr, Expr]:
        """The elements around a point, how far it lies from the first, and whether it is on the image at all."""
        step = (T.cast(number, self._work) + self._number(0.5)) * self._cell / T.cast(self.points, self._work)
        at = T.bind(self._start + T.cast(cell, self._work) * self._cell + step)
        inside = T.bind(tirx.all(at >= self._number(-1), at <= self._number(self._size)))
        kept = T.bind(T.min(T.max(at, self._number(0)), self._number(self._size - 1)))
        low = T.bind(T.cast(T.floor(kept), "int32"))
        return low, T.bind(T.min(low + 1, self._size - 1)), T.bind(kept - T.cast(low, self._work)), inside

    def _number(self, value: float) -> Expr:
        return tirx.const(value, self._work)


def _between(x: Buffer, row: Expr, low: Expr, high: Expr, part: Expr, work: str) -> Expr:
    return T.bind(T.cast(x[row + low], work) * (1 - part) + T.cast(x[row + high], work) * part)
