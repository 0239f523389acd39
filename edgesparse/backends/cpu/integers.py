"""Call the kernels of ops on stored integers, and those at the ends, where they become numbers or were some."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call, Kernel, Tensor
from edgesparse.backends.cpu.kernels.bytes import Stored, word_of
from edgesparse.backends.cpu.kernels.epilogue import Epilogue, Requantized, Scaled
from edgesparse.backends.cpu.kernels.quads_depthwise import QuadsDepthwise, quads_depthwise
from edgesparse.backends.cpu.kernels.quads_elementwise import Limits, combined, mapped
from edgesparse.backends.cpu.kernels.quads_layout import Facts
from edgesparse.backends.cpu.kernels.quads_numbers import dequantize, quantize
from edgesparse.backends.cpu.kernels.quads_pool import quads_global_mean, quads_max_pool, quads_mean
from edgesparse.backends.cpu.scope import Scope
from edgesparse.graph.byte_maps import Affine
from edgesparse.graph.groups import ENDS, QUANTIZE, Group, Operand, quantization_of
from edgesparse.graph.integer import Integer, stored
from edgesparse.graph.integer_layers import Sums
from edgesparse.graph.ops import IntegerDepthwise
from edgesparse.graph.windows import window_of
from edgesparse.nodes import constant, dtype_of, ints, shape_of
from edgesparse.numerics import QUAD
from edgesparse.program import Constant


def epilogue_of(sums: Sums, scope: Scope) -> tuple[Epilogue, np.ndarray]:
    """What becomes of the sums of a layer, and what float32 ones are multiplied by, for each channel."""
    found = sums.requantization(scope.dotted)
    return (Scaled(), sums.scale) if found is None else (Requantized.to(found), found.scale)


def fill_of(sums: Sums, scope: Scope) -> int:
    """The word of padding."""
    return word_of(int(stored(sums.x.by, scope.dotted).zero))


def lower_integer_depthwise(op: IntegerDepthwise, scope: Scope) -> None:
    """Emit the call of a depthwise convolution of bytes."""
    sums, window = op.sums, op.window
    words = replace(window, channels=-(-window.channels // QUAD))
    epilogue, scale = epilogue_of(sums, scope)
    assert isinstance(epilogue, Requantized)
    layer = QuadsDepthwise(words, sums.numerics(scope.dotted), epilogue, fill_of(sums, scope), scope.target)
    constants = layer.pack(sums.weight, sums.started(scope.dotted), scale)
    reads: tuple[Tensor | Constant, ...] = (scope.quads(sums.x.value, 1), *constants)
    _emit(sums.node, sums.op, quads_depthwise(layer), reads, op.output, 1, scope)


def lower_integer(op: Integer, scope: Scope) -> None:
    """Emit the calls of an op on stored integers."""
    group = op.group
    if op.function is not None:
        _lower_map(op, op.function, scope)
    elif group.node.op_type in ("Add", "Mul"):
        _lower_two(op, scope)
    else:
        _lower_pool(op, scope)


def _lower_map(op: Integer, function: Affine, scope: Scope) -> None:
    """A function of one number, by a multiplication."""
    group = op.group
    value = group.operands[0].value
    axis = scope.quads_axis(value)
    x = scope.quads(value, axis)
    limits = Limits(*_above(group, function.low, function.high))
    kernel = mapped(x.size, _by(group.operands[0], scope), function.scale, _result(group, scope), limits, scope.target)
    _emit(group.node, op.op, kernel, (x,), group.output, axis, scope)


def _above(group: Group, *stored: int) -> list[int]:
    """How far integers of the result are above the lowest, flipped or not."""
    assert group.result.by is not None
    return [each - group.result.by.limits[0] for each in stored]


def _limits(group: Group) -> tuple[int, int]:
    """The lowest and the highest integer of the result, above the lowest byte."""
    low, high = _above(group, *group.result.limits())
    return low, high


def _lower_two(op: Integer, scope: Scope) -> None:
    group = op.group
    first, second = group.operands
    axis = scope.quads_axis(first.value if constant(first.value) is None else second.value)
    a, b = scope.held_quads(first.value, axis), scope.held_quads(second.value, axis)
    kernel = combined(
        Facts.of(shape_of(first.value), axis).words,
        group.node.op_type == "Mul",
        _by(first, scope),
        _by(second, scope),
        _result(group, scope),
        Limits(*_limits(group)),
        scope.target,
    )
    _emit(group.node, op.op, kernel, (a, b), group.output, axis, scope)


def _lower_pool(op: Integer, scope: Scope) -> None:
    group = op.group
    node, operand = group.node, group.operands[0]
    x, by, behind = scope.quads(operand.value, 1), _by(operand, scope), _result(group, scope)
    if node.op_type in ("MaxPool", "AveragePool"):
        window = window_of(node, ints(node, "kernel_shape"))
        assert window is not None
        words = replace(window, channels=-(-window.channels // QUAD))
        if node.op_type == "MaxPool":
            kernel = quads_max_pool(words, scope.dotted, by.is_signed, scope.target)
        else:
            kernel = quads_mean(words, scope.dotted, by, behind, _limits(group), scope.target)
    else:
        batch, quads, n = x.shape
        kernel = quads_global_mean(batch * quads, n, by, behind, _limits(group), scope.target)
    _emit(node, op.op, kernel, (x,), group.output, 1, scope)


def is_end(node: ir.Node, scope: Scope) -> bool:
    """Whether a node quantizes float32 numbers to quads, or dequantizes bytes that lie there; by one scale."""
    if node.op_type not in ENDS or scope.target.cpu.dotted is None:
        return False
    (x, *_), y = node.inputs, node.outputs[0]
    if x is None:
        return False
    quantizes = node.op_type == QUANTIZE
    by = quantization_of(node, dtype_of(y if quantizes else x))
    if by is None or by.scale.size > 1 or dtype_of(x if quantizes else y) != "float32":
        return False
    return bool(shape_of(y) and prod(shape_of(y))) if quantizes else scope.holds_quads(x)


def lower_end(node: ir.Node, scope: Scope) -> None:
    """Emit the call of a node that `is_end`."""
    (x, *_), y = node.inputs, node.outputs[0]
    assert x is not None
    quantizes = node.op_type == QUANTIZE
    value = y if quantizes else x
    by, axis = quantization_of(node, dtype_of(value)), scope.quads_axis(value)
    assert by is not None
    facts, how = Facts.of(shape_of(value), axis), Stored.by(stored(by, scope.dotted))
    planes = replace(facts, inner=False)  # a value whose channels are the last axis is read and written by columns
    if quantizes:
        source = scope.columns(x) if facts.inner else scope.rows(x)
        _emit(node, node.op_type, quantize(planes, how, scope.target), (source,), y, axis, scope)
        return
    written = scope.write_columns(y) if facts.inner else scope.write_rows(y)
    kernel = dequantize(planes, how, scope.target)
    scope.emit_stored(Call(str(node.name), node.op_type, kernel, (scope.quads(x, axis),), (written,)))


def _by(operand: Operand, scope: Scope) -> Stored:
    return Stored.by(stored(operand.by, scope.dotted))


def _result(group: Group, scope: Scope) -> Stored:
    by = group.result.by
    assert by is not None
    return Stored.by(stored(by, scope.dotted))


def _emit(
    node: ir.Node,
    op: str,
    kernel: Kernel,
    reads: tuple[Tensor | Constant, ...],
    output: ir.Value,
    axis: int,
    scope: Scope,
) -> None:
    scope.emit_stored(Call(str(node.name), op, kernel, reads, (scope.write_quads(output, axis),)))
