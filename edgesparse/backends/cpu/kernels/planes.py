"""Padding and phases: lay out a convolution input so that every tap of the window is one fixed offset.

A strided window reads every stride-th element. The input is split into `stride_h * stride_w` phase planes, each
padded: tap (i, j) then reads plane (i % stride_h, j % stride_w) at a constant offset, at unit stride. For
unit strides this is plain padding.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr, const
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param, build_kernel, kernel_symbol
from edgesparse.devices.targets import Target
from edgesparse.graph.geometry import Window
from edgesparse.numerics import Element

_UNROLLED = 8  # phases with code of their own


def planes(window: Window, element: Element, target: Target, fill: int = 0) -> Kernel:
    """Copy images into phase planes padded with `fill`. Reads: x; writes: the planes.

    Shapes: x [batch, channels, height, width]; planes [batch, channels, phases, plane height, plane width].
    A tile is one channel of one image. Over-read: none.
    """
    height, width = window.plane
    (sh, sw), (top, left) = window.strides, window.pads
    images = window.batch * window.channels
    row_phases, column_phases = window.phase_axes

    def copy_plane(image: Expr, number: Expr | int, ph: Expr | int, pw: Expr | int, x: Buffer, y: Buffer) -> None:
        # Column q of the plane is column q * sw + pw - left of the image.
        first = _clamp(_ceildiv(left - pw, sw), 0, width)
        last = _clamp(_ceildiv(window.width + left - pw, sw), first, width)
        with T.serial(0, height) as q:
            row = T.bind(q * sh + ph - top)
            target_row = T.bind((image * len(window.phases) + number) * (height * width) + q * width)
            with T.If(T.And(row >= 0, row < window.height)):
                with T.Then():
                    source = T.bind((image * window.height + row) * window.width + (first * sw + pw - left))
                    _fill(y, target_row, 0, first, fill)
                    with T.serial(0, last - first) as i:
                        T.buffer_store(y, x[source + i * sw], [target_row + first + i])
                    _fill(y, target_row, last, width, fill)
                with T.Else():
                    _fill(y, target_row, 0, width, fill)

    def body(image: Expr, x: Buffer, y: Buffer) -> None:
        if len(window.phases) <= _UNROLLED or not (_is_range(row_phases) and _is_range(column_phases)):
            for number, (ph, pw) in enumerate(window.phases):
                copy_plane(image, number, ph, pw, x, y)
            return
        with T.serial(0, len(row_phases)) as ph, T.serial(0, len(column_phases)) as pw:
            copy_plane(image, ph * len(column_phases) + pw, ph, pw, x, y)

    params = [Param(images * window.height * window.width, element), Param(images * window.channel_size, element)]
    symbol = kernel_symbol("planes", element, window.name, target, window, *([fill] if fill else []))
    return build_kernel(symbol, params, images, body)


def _is_range(phases: list[int]) -> bool:
    return phases == list(range(len(phases)))


def _ceildiv(a: Expr | int, b: int) -> Expr | int:
    return -(-a // b) if isinstance(a, int) else T.bind(T.floordiv(a + (b - 1), b))


def _clamp(value: Expr | int, low: Expr | int, high: int) -> Expr | int:
    if isinstance(value, int) and isinstance(low, int):
        return min(max(value, low), high)
    return T.bind(T.min(T.max(value, low), high))


def _fill(y: Buffer, start: Expr, first: Expr | int, last: Expr | int, value: int) -> None:
    if not isinstance(first, int) or not isinstance(last, int) or first < last:
        with T.serial(first, last) as i:
            T.buffer_store(y, const(value, y.dtype), [start + i])
