"""Call the kernels of ops on stored integers, and those at the ends, where they become numbers or were some."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call, Kernel, Tensor
from edgesparse.backends.cpu.kernels.bytes import Stored
from edgesparse.backends.cpu.kernels.epilogue import Epilogue, Requantized, Scaled
from edgesparse.backends.cpu.kernels.quads_depthwise import QuadsDepthwise, quads_depthwise, word_of
from edgesparse.backends.cpu.kernels.quads_elementwise import Limits, combined, mapped
from edgesparse.backends.cpu.kernels.quads_layout import Facts
from edgesparse.backends.cpu.kernels.quads_numbers import dequantize, quantize
from edgesparse.backends.cpu.kernels.quads_pool import quads_global_mean, quads_max_pool, quads_mean
from edgesparse.backends.cpu.scope import Scope
from edgesparse.graph.byte_maps import Affine
from edgesparse.graph.groups import Group, Operand, quantization_of
from edgesparse.graph.integer import Integer, stored
from edgesparse.graph.integer_layers import Sums
from edgesparse.graph.ops import IntegerDepthwise
from edgesparse.graph.windows import window_of
from edgesparse.nodes import dtype_of, ints, shape_of
from edgesparse.numerics import QUAD
from edgesparse.program import Constant


def epilogue_of(sums: Sums, scope: Scope) -> Epilogue:
    """What becomes of the sums of a layer."""
    found = sums.requantization(scope.dotted)
    return Scaled() if found is None else Requantized.to(found)


def scales_of(sums: Sums, scope: Scope) -> np.ndarray:
    """What float32 sums are multiplied by, for each channel."""
    found = sums.requantization(scope.dotted)
    return sums.scale if found is None else found.scale


def fill_of(sums: Sums, scope: Scope) -> int:
    """The word of padding."""
    return word_of(int(stored(sums.x.by, scope.dotted).zero))


def lower_integer_depthwise(op: IntegerDepthwise, scope: Scope) -> None:
    """Emit the call of a depthwise convolution of bytes."""
    sums, window = op.sums, op.window
    words = replace(window, channels=-(-window.channels // QUAD))
    epilogue = epilogue_of(sums, scope)
    assert isinstance(epilogue, Requantized)
    scale, fill = scales_of(sums, scope), fill_of(sums, scope)
    small = bool(scale.max() <= 0.5)
    layer = QuadsDepthwise(words, sums.numerics(scope.dotted), epilogue, fill, scope.target, scales_down=small)
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
    before, behind = _by(group.operands[0], scope), _result(group, scope)
    limits = Limits(
        *(each + behind.shift - behind.zero + _moved(group, scope) for each in (function.low, function.high))
    )
    kernel = mapped(x.size, before, function.scale, behind, limits, scope.target)
    _emit(group.node, op.op, kernel, (x,), group.output, axis, scope)


def _moved(group: Group, scope: Scope) -> int:
    """What is added to the integers of the result where they lie flipped."""
    by = group.result.by
    assert by is not None
    return int(stored(by, scope.dotted).zero) - int(by.zero)


def _limits(group: Group, scope: Scope) -> tuple[int, int]:
    """The lowest and the highest number that is stored, above the lowest byte."""
    behind = _result(group, scope)
    low, high = (limit + _moved(group, scope) + behind.shift - behind.zero for limit in group.result.limits())
    return low, high


def _lower_two(op: Integer, scope: Scope) -> None:
    group = op.group
    first, second = group.operands
    axis = scope.quads_axis(first.value)
    a, b = scope.quads(first.value, axis), scope.quads(second.value, axis)
    kernel = combined(
        a.size,
        group.node.op_type == "Mul",
        _by(first, scope),
        _by(second, scope),
        _result(group, scope),
        Limits(*_limits(group, scope)),
        scope.target,
    )
    _emit(group.node, op.op, kernel, (a, b), group.output, axis, scope)


def _lower_pool(op: Integer, scope: Scope) -> None:
    group = op.group
    node, operand = group.node, group.operands[0]
    x, by, behind = scope.quads(operand.value, 1), _by(operand, scope), _result(group, scope)
    if node.op_type == "MaxPool" or node.op_type == "AveragePool":
        window = window_of(node, ints(node, "kernel_shape"))
        assert window is not None
        words = replace(window, channels=-(-window.channels // QUAD))
        if node.op_type == "MaxPool":
            kernel = quads_max_pool(words, scope.dotted, by.is_signed, scope.target)
        else:
            kernel = quads_mean(words, scope.dotted, by, behind, _limits(group, scope), scope.target)
    else:
        batch, quads, n = x.shape
        kernel = quads_global_mean(batch * quads, n, by, behind, _limits(group, scope), scope.target)
    _emit(node, op.op, kernel, (x,), group.output, 1, scope)


def lower_quantize(node: ir.Node, scope: Scope) -> bool:
    """Emit a QuantizeLinear of a whole tensor to bytes that an op on integers reads; says whether it did."""
    x, y = node.inputs[0], node.outputs[0]
    by = quantization_of(node, dtype_of(y))
    if x is None or by is None or by.scale.size > 1 or dtype_of(x) != "float32":
        return False
    if not shape_of(y) or prod(shape_of(y)) == 0:
        return False
    axis = scope.quads_axis(y)
    facts = Facts.of(shape_of(y), axis)
    source = scope.columns(x) if facts.inner else scope.rows(x)
    outer = replace(facts, inner=False)
    kernel = quantize(outer, Stored.by(stored(by, scope.dotted)), scope.target)
    _emit(node, node.op_type, kernel, (source,), y, axis, scope)
    return True


def lower_dequantize(node: ir.Node, scope: Scope) -> bool:
    """Emit a DequantizeLinear of a whole tensor of bytes that lies in quads; says whether it did."""
    x, y = node.inputs[0], node.outputs[0]
    by = None if x is None else quantization_of(node, dtype_of(x))
    if x is None or by is None or by.scale.size > 1 or not scope.holds_quads(x) or dtype_of(y) != "float32":
        return False
    axis = scope.quads_axis(x)
    facts = Facts.of(shape_of(x), axis)
    kernel = dequantize(replace(facts, inner=False), Stored.by(stored(by, scope.dotted)), scope.target)
    source = scope.quads(x, axis)
    written = scope.write_columns(y) if facts.inner else scope.write_rows(y)
    scope.emit_stored(Call(str(node.name), node.op_type, kernel, (source,), (written,)))
    return True


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
