"""The last form of what is quantized: what integer kernels recognise around every operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import add_constant, fold_constants
from edgesparse.frontend.quantization import (
    DEQUANTIZE,
    QUANTIZE,
    has_constant_parameters,
    is_of_tensor,
    is_standard,
    parameters,
    stays_stored,
)
from edgesparse.frontend.quantized_moves import copied, move_quantized, moves
from edgesparse.graph.provenance import derived

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def settle_quantized(model: ir.Model) -> None:
    """Bring what is quantized to the form that the README describes, in place, once all else has its form."""
    graph = model.graph
    if not any(is_standard(node, QUANTIZE, DEQUANTIZE) for node in graph):
        return
    move_quantized(model)
    fold_constants(model, stays_stored)
    for node in list(graph):
        if is_standard(node, "MaxPool"):
            _dequantize_around(node)
    _separate(graph)


def _dequantize_around(node: ir.Node) -> None:
    """Let a maximum of stored integers be one of the numbers that they stand for: greater scales keep the order."""
    stored = node.inputs[0]
    by = _quantizing(stored)
    if by is None or stored is None or len(node.outputs) > 1 or stored.dtype not in BYTES:
        return
    before = ir.node(DEQUANTIZE, [stored, *by.inputs[1:]], name=f"{node.name}_dequantized")
    after = ir.node(QUANTIZE, [node.outputs[0], *by.inputs[1:]], name=f"{node.name}_quantized")
    real, old, new = before.outputs[0], node.outputs[0], after.outputs[0]
    name, kind = old.name, ir.TensorType(ir.DataType.FLOAT)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    after.replace_input_with(0, old)
    node.prepend(before)
    node.append(after)
    node.replace_input_with(0, real)
    real.name, real.type, real.shape = before.name, kind, stored.shape
    new.type, new.shape, old.type = old.type, old.shape, kind
    old.name, new.name = f"{name}_real", name


def _quantizing(value: ir.Value | None) -> ir.Node | None:
    """The QuantizeLinear by one float32 scale that says what the integers of `value` stand for."""
    node = None if value is None else value.producer()
    while node is not None and moves(node) and node.op_type != "Pad":
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or not is_standard(node, QUANTIZE) or not is_of_tensor(node):
        return None
    scale, _ = parameters(node)
    return node if scale is not None and scale.dtype == np.float32 else None


def _separate(graph: ir.Graph) -> None:
    """Give every reader a DequantizeLinear of its own, with parameters written in one way.

    One scale is a scalar, and there is always a zero point of its shape, but for int32.
    """
    for node in list(graph):
        if is_standard(node, QUANTIZE, DEQUANTIZE):
            _write_parameters(graph, node)
        if not is_standard(node, DEQUANTIZE):
            continue
        uses = tuple(node.outputs[0].uses())
        for use in uses if node.outputs[0].is_graph_output() else uses[1:]:
            copy = copied(node)
            node.append(copy)
            use.node.replace_input_with(use.idx, copy.outputs[0])


def _write_parameters(graph: ir.Graph, node: ir.Node) -> None:
    scale, zero = parameters(node)
    stored = node.inputs[0] if node.op_type == DEQUANTIZE else node.outputs[0]
    if not has_constant_parameters(node) or scale is None or zero is None or stored is None or stored.dtype is None:
        return
    if scale.size == 1 and scale.shape:
        scale = scale.reshape(())
        origins = derived("reshaped", node.inputs[1])
        node.replace_input_with(1, add_constant(graph, scale, f"{node.name}_scale", origins))
    if stored.dtype == ir.DataType.INT32 or not stored.dtype.is_integer() or stored.dtype.bitwidth < 8:
        return
    given = node.inputs[2] if len(node.inputs) > 2 else None
    wanted = stored.dtype.numpy()
    if given is None or zero.shape != scale.shape or zero.dtype != wanted:
        spread = np.broadcast_to(zero.reshape(-1), scale.shape) if scale.shape else zero.reshape(())
        node.resize_inputs(3)
        value = add_constant(graph, spread.astype(wanted), f"{node.name}_zero", derived("reshaped", given))
        node.replace_input_with(2, value)
