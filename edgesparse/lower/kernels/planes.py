"""Padding and phases: lay out a convolution input so that every tap of the window is one fixed offset.

A strided window reads every stride-th element. The input is split into `stride_h * stride_w` phase planes, each
zero padded: tap (i, j) then reads plane (i % stride_h, j % stride_w) at a constant offset, at unit stride. For
unit strides this is plain zero padding.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.geometry import Window
from edgesparse.lower.kernel import Kernel, Param, build_kernel, kernel_symbol
from edgesparse.targets import Target


def planes(window: Window, target: Target) -> Kernel:
    """Copy images into zero-padded phase planes. Reads: x; writes: the planes.

    Shapes: x [batch, channels, height, width]; planes [batch, channels, phases, plane height, plane width].
    A tile is one channel of one image. Over-read: none.
    """
    height, width = window.plane
    (sh, sw), (top, left) = window.strides, window.pads
    images = window.batch * window.channels

    def body(image: Expr, x: Buffer, y: Buffer) -> None:
        for number, (ph, pw) in enumerate(window.phases):
            # Column q of the plane is column q * sw + pw - left of the image.
            first = min(max(0, -(-(left - pw) // sw)), width)
            last = min(max(first, -(-(window.width + left - pw) // sw)), width)
            with T.serial(0, height) as q:
                row = T.bind(q * sh + (ph - top))
                target_row = T.bind((image * len(window.phases) + number) * (height * width) + q * width)
                with T.If(T.And(row >= 0, row < window.height)):
                    with T.Then():
                        source = T.bind((image * window.height + row) * window.width + (first * sw + pw - left))
                        _zero(y, target_row, 0, first)
                        with T.serial(0, last - first) as i:
                            T.buffer_store(y, x[source + i * sw], [target_row + first + i])
                        _zero(y, target_row, last, width)
                    with T.Else():
                        _zero(y, target_row, 0, width)

    params = [Param(images * window.height * window.width), Param(images * window.channel_size)]
    return build_kernel(kernel_symbol("planes", window, target.name), params, images, body)


def _zero(y: Buffer, start: Expr, first: int, last: int) -> None:
    if first < last:
        with T.serial(first, last) as i:
            T.buffer_store(y, T.float32(0), [start + i])
