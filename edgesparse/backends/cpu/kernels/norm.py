"""Normalisation of rows: layer, RMS, instance and group normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx_ir as ir
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Call, Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.math import hold
from edgesparse.backends.cpu.kernels.operands import operand, output_count, padded
from edgesparse.backends.cpu.kernels.vectors import add, each_vector, fold_lanes, reduce_run, store_first
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.devices.targets import Target
from edgesparse.numerics import TAKEN, Element

_TILE_ELEMENTS = 4096  # at least about


@dataclass(frozen=True)
class Norm:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias over each of `rows` rows of `count` elements.

    A row holds `channels` runs of equal length. With one scale a channel, row r begins at channel
    r * channels modulo the number of scales; where `channels` and `scales` are `count`, each element has its own.
    """

    rows: int
    count: int
    channels: int
    scales: int
    bias: bool
    centered: bool  # False: no mean is subtracted (RMS)
    epsilon: float
    element: Element

    @property
    def elementwise(self) -> bool:
        """Each element of a row has its own scale."""
        return self.channels == self.scales == self.count


def lower_norm(node: ir.Node, target: Target) -> list[Call] | None:
    """Lower a LayerNormalization, RMSNormalization, InstanceNormalization or GroupNormalization.

    None for any other node, and where statistics are asked for as well.
    """
    read = _READERS.get(node.op_type)
    x = operand(node, 0) if read is not None else None
    if read is None or x is None or x.element not in TAKEN or x.size == 0:
        return None
    if output_count(node) > 1:
        return None
    found = read(node, x.shape)
    if found is None:
        return None
    rows, count, channels = found
    operands = [value for value in node.inputs[1:3] if value is not None]
    scales = tensor(operands[0]).size
    whole = scales % channels == 0 and rows * channels % scales == 0
    if not whole or any(tensor(value).size != scales or tensor(value).element != x.element for value in operands):
        return None
    epsilon = node.attributes.get("epsilon")
    norm = Norm(
        rows=rows,
        count=count,
        channels=channels,
        scales=scales,
        bias=len(operands) > 1,
        centered=node.op_type != "RMSNormalization",
        epsilon=1e-5 if epsilon is None else float(epsilon.as_float()),
        element=x.element,
    )
    reads = tuple(padded(value, target.cpu) for value in (node.inputs[0], *operands) if value is not None)
    return [Call(str(node.name), node.op_type, norm_kernel(norm, target), reads, (tensor(node.outputs[0]),))]


def _read_trailing(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    attribute = node.attributes.get("axis")
    axis = (-1 if attribute is None else attribute.as_int()) % len(shape)
    count = prod(shape[axis:])
    return (prod(shape[:axis]), count, count) if operand(node, 1).size == count else None


def _read_instance(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    return shape[0] * shape[1], prod(shape[2:]), 1


def _read_group(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """One scale a channel (since opset 21) or a group (before)."""
    groups = node.attributes["num_groups"].as_int()
    channels = shape[1] // groups
    count = channels * prod(shape[2:])
    return shape[0] * groups, count, channels if operand(node, 1).size == shape[1] else 1


_READERS = {
    "LayerNormalization": _read_trailing,
    "RMSNormalization": _read_trailing,
    "InstanceNormalization": _read_instance,
    "GroupNormalization": _read_group,
}


def norm_kernel(norm: Norm, target: Target) -> Kernel:
    """Build the kernel. Reads: x, scale[, bias]; writes: y.

    Shapes: x and y [rows, count], may share memory; scale and bias [scales]. A tile is some rows.
    Over-read: all reads, below 64 bytes. Order: mean, then variance about it; both in chains of lanes, then
        pairwise.
    """
    run = norm.count if norm.elementwise else norm.count // norm.channels
    lanes = Lanes(target.cpu.lanes(norm.element), norm.element).narrowed(norm.count)
    rows = min(norm.rows, -(-_TILE_ELEMENTS // norm.count))

    def row(x: Buffer, y: Buffer, scale: Buffer, bias: Buffer | None, r: Expr) -> None:
        start = T.bind(r * norm.count)

        def centered(i: Expr | int) -> Expr:
            value = lanes.load(x, start + i)
            return hold(value - mean) if norm.centered else hold(value)

        def square(i: Expr | int, _: int) -> Expr:
            value = centered(i)
            return value * value

        if norm.centered:
            total = reduce_run(norm.count, lanes, lambda i, _: lanes.load(x, start + i), add, 0.0)
            mean = hold(lanes.splat(hold(fold_lanes(total, add) * lanes.scalar(1.0 / norm.count))))
        variance = fold_lanes(reduce_run(norm.count, lanes, square, add, 0.0), add) * lanes.scalar(1.0 / norm.count)
        inverse = hold(lanes.scalar(1.0) / T.sqrt(variance + lanes.scalar(norm.epsilon)))
        if norm.elementwise:
            factor = hold(lanes.splat(inverse))

            def element(i: Expr | int, valid: int) -> None:
                value = centered(i) * factor * lanes.load(scale, i)
                store_first(y, start + i, hold(value + lanes.load(bias, i) if bias is not None else value), valid)

            each_vector(norm.count, lanes, element)
            return
        with T.serial(0, norm.channels) as c:
            channel = T.bind(T.floormod(r * norm.channels + c, norm.scales))
            factor = hold(lanes.splat(inverse * scale[channel]))
            shift = hold(lanes.splat(bias[channel])) if bias is not None else None

            def shared(i: Expr | int, valid: int) -> None:
                place = T.bind(c * run + i)
                value = centered(place) * factor
                store_first(y, start + place, hold(value if shift is None else value + shift), valid)

            each_vector(run, lanes, shared)

    def body(tile: Expr, x: Buffer, scale: Buffer, *rest: Buffer) -> None:
        *bias, y = rest
        with T.serial(T.bind(tile * rows), T.bind(T.min((tile + 1) * rows, norm.rows))) as r:
            row(x, y, scale, bias[0] if bias else None, r)

    x = Param(norm.rows * norm.count, norm.element)
    params = [x, *[Param(norm.scales, norm.element)] * (2 if norm.bias else 1), x]
    symbol = kernel_symbol("norm", norm.element, f"o{norm.rows}n{norm.count}", target, norm)
    inplace = ((0, len(params) - 1),)
    return build_kernel(symbol, params, -(-norm.rows // rows), body, inplace=inplace)
